/** Curves on a canvas: several lines over one axis, with what each bucket spans as a band. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { colour, faint, onTheme } from "./colours.js";
import { fresh, h, text, framed } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 230;
const PARTS = 4; // of each line: as it is, smoothed, highest, lowest

/** Of the page's settings: { x, smoothing, log, bands }. */
export class Chart {
  /** @param lines [{ key, label, colour, dash, hidden }] */
  constructor({ title, unit, settings, signal, onzoom }) {
    Object.assign(this, { title, unit, settings, onzoom });
    this.lines = [];
    this.data = new Map();
    this.zoom = null;
    const id = fresh("chart");
    this.legend = h("div.legend");
    this.plot = h("div.plot", { role: "img", "aria-labelledby": id });
    this.told = h("span.hidden", { id }, title);
    this.element = h(
      "figure.chart",
      h("figcaption", h("h3", title), this.buttons()),
      this.plot,
      this.told,
      this.legend,
    );
    this.draw = framed(() => this.paint());
    onTheme(() => this.rebuild(), signal);
    const sizes = new ResizeObserver(() => this.fit());
    sizes.observe(this.plot);
    signal.addEventListener("abort", () => {
      sizes.disconnect();
      this.u?.destroy();
    });
  }

  buttons() {
    const one = (sign, what, factor) =>
      h("button.quiet", { type: "button", "aria-label": `${what}: ${this.title}`, title: what,
        onclick: () => this.magnify(factor) }, sign);
    return h("div.zoom", one("+", "Zoom in", 0.5), one("−", "Zoom out", 2), one("↔", "Whole curve", null));
  }

  get width() {
    return Math.max(Math.floor(this.plot.clientWidth), 200);
  }

  /** From the first to the last x of all lines. */
  get extent() {
    let low = Infinity;
    let high = -Infinity;
    for (const { x } of this.data.values()) {
      if (!x.length) continue;
      low = Math.min(low, x[0]);
      high = Math.max(high, x[x.length - 1]);
    }
    return low <= high ? [low, high] : null;
  }

  show(lines) {
    this.lines = lines;
    const alone = lines.filter((line) => !line.group);
    const groups = Map.groupBy(lines.filter((line) => line.group), (line) => line.group);
    this.legend.replaceChildren(
      ...alone.map((line) => h("span", this.entry([line], line.label), (line.value = h("output")))),
      ...[...groups].map(([name, members]) => h("span", this.entry(members, name))),
    );
    this.rebuild();
  }

  /** Shows or hides a line, or several that belong together. */
  entry(lines, label) {
    const [{ dash, colour, hidden }] = lines;
    const swatch = lines.length === 1 && h("i.swatch", { "data-dash": dash ? "" : null, style: { color: `var(--${colour})` } });
    const button = h("button.line", { type: "button", "aria-pressed": String(!hidden) }, swatch, label);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      for (const line of lines) line.hidden = !shown;
      button.setAttribute("aria-pressed", String(shown));
      this.rebuild();
    });
    return button;
  }

  /** @param data Map of key to { x, y, lo, hi } */
  set(data) {
    this.data = data;
    this.draw();
  }

  rebuild() {
    this.u?.destroy();
    this.u = null;
    this.draw();
  }

  fit() {
    if (this.u && this.u.width !== this.width) this.u.setSize({ width: this.width, height: HEIGHT });
  }

  paint() {
    if (!this.plot.isConnected || !this.lines.length || !this.extent) return;
    const tables = this.lines.map((line) => this.table(line));
    const joined = uPlot.join(tables);
    if (this.u) this.u.setData(joined);
    else this.u = new uPlot(this.options(), joined, this.plot);
    this.tell();
  }

  table(line) {
    const { x, y, lo, hi } = this.data.get(line.key) ?? { x: [], y: [], lo: [], hi: [] };
    const positive = (values) => (this.settings.log ? values.map((one) => (one > 0 ? one : null)) : values);
    const smooth = this.settings.smoothing ? smoothed(y, this.settings.smoothing) : y;
    const band = (values) => (this.settings.bands && values ? positive(values) : new Array(x.length).fill(null));
    return [x, positive(y), positive(smooth), band(hi), band(lo)];
  }

  options() {
    const ink = colour("ink-2");
    const rule = { stroke: colour("grid"), width: 1 };
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: ink, grid: rule, ticks: { show: false }, font, gap: 6 };
    const series = [{}];
    const bands = [];
    this.lines.forEach((line, index) => {
      const stroke = colour(line.colour);
      const main = { stroke, width: 1.75, dash: line.dash, show: !line.hidden, points: { size: 5 } };
      const nothing = { stroke: "transparent", show: !line.hidden, points: { show: false } };
      const smooth = this.settings.smoothing > 0;
      series.push({ ...main, stroke: faint(stroke, 0.25), width: 1, show: main.show && smooth, points: { show: false } });
      series.push(main, nothing, { ...nothing });
      const at = 1 + PARTS * index;
      bands.push({ series: [at + 2, at + 3], fill: faint(stroke, smooth ? 0.07 : 0.15) });
    });
    const percent = this.unit === "percent";
    return {
      width: this.width,
      height: HEIGHT,
      legend: { show: false },
      series,
      bands,
      padding: [10, 12, 0, 0],
      axes: [
        { ...axis, space: 60 },
        { ...axis, size: 54, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : this.shown(tick, percent ? 4 : 3))) },
      ],
      scales: {
        x: { time: this.settings.x === "time", range: (_, low, high) => this.zoom ?? widened(low, high) },
        y: this.settings.log ? { distr: 3 } : {},
      },
      cursor: {
        sync: { key: "charts", setSeries: false },
        drag: { x: true, y: false, setScale: false },
        dataIdx: (u, series, index) => nearest(u.data[series], index),
        points: { size: 7 },
        bind: { dblclick: () => () => this.magnify(null) },
      },
      hooks: {
        setCursor: [(u) => this.point(u)],
        setSelect: [(u) => this.select(u)],
      },
    };
  }

  shown(value, digits) {
    if (value === null || value === undefined) return format.NONE;
    return this.unit === "percent" ? `${Number((100 * value).toPrecision(digits))} %` : format.number(value, digits);
  }

  /** The legend tells the values under the pointer, or else the last ones. */
  point(u) {
    this.lines.forEach((line, index) => {
      const values = u.data[1 + PARTS * index + 1];
      const at = u.cursor.idxs?.[1 + PARTS * index + 1];
      if (line.value) text(line.value, this.shown(at === null || at === undefined ? last(values) : values[at], 4));
    });
  }

  tell() {
    this.point(this.u);
    const ends = this.lines.filter((line) => !line.hidden && this.data.get(line.key)?.y.length);
    const words = ends.map((line) => `${line.label} ${this.shown(last(this.data.get(line.key).y), 4)}`);
    text(this.told, `${this.title} by ${this.settings.x}; at the end: ${words.join(", ")}.`);
  }

  select(u) {
    if (u.select.width < 4) return;
    const [from, to] = [u.select.left, u.select.left + u.select.width].map((at) => u.posToVal(at, "x"));
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.look([from, to]);
  }

  magnify(factor) {
    const whole = this.extent;
    if (!whole) return;
    const [low, high] = this.zoom ?? whole;
    const middle = (low + high) / 2;
    const half = ((high - low) / 2) * (factor ?? 1);
    this.look(factor === null || 2 * half >= whole[1] - whole[0] ? null
      : [Math.max(whole[0], middle - half), Math.min(whole[1], middle + half)]);
  }

  look(zoom) {
    this.zoom = zoom;
    if (this.u) this.u.setData(this.u.data);
    this.onzoom?.();
  }

  /** By how much of the whole is seen, this much more detail is wanted. */
  get magnification() {
    const whole = this.extent;
    return this.zoom && whole ? (whole[1] - whole[0]) / (this.zoom[1] - this.zoom[0]) : 1;
  }
}

function widened(low, high) {
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function last(values) {
  for (let at = values.length - 1; at >= 0; at--) if (values[at] !== null && values[at] !== undefined) return values[at];
  return null;
}

/** Lines over other x have holes here: the nearest point of this one. */
function nearest(values, index) {
  for (let off = 0; off < values.length; off++) {
    if (values[index - off] !== null && values[index - off] !== undefined) return index - off;
    if (values[index + off] !== null && values[index + off] !== undefined) return index + off;
  }
  return index;
}

/** An exponential moving mean, free of the bias towards its start; nulls stay. */
export function smoothed(values, weight) {
  let mean = 0;
  let scale = 1;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = weight * mean + (1 - weight) * value;
    scale *= weight;
    return mean / (1 - scale);
  });
}
