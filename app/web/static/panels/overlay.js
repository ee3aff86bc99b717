/** One curve of several jobs over one axis. */

import { get, query } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { PALETTE } from "../lib/colours.js";
import { fresh, h, settled } from "../lib/dom.js";
import { choice, section, toggle } from "../lib/parts.js";

const FIRST = ["validation/accuracy", "train/loss"];
const SHARES = ["accuracy", "agreement"];
const AT_ONCE = 6;

/** jobs: [{ job, label, report }] */
export function overlay(jobs, signal) {
  const settings = { x: "epoch", smoothing: 0, log: false, bands: jobs.length < 5 };
  const place = h("div");
  const keysAt = h("span");
  const sliderId = fresh("slider");
  const slider = h("input", { id: sliderId, type: "range", min: 0, max: 0.98, step: 0.01, value: 0 });
  let chart = null;
  let key = null;

  slider.addEventListener("input", () => {
    settings.smoothing = Number(slider.value);
    chart?.rebuild();
  });
  const element = section("Curves",
    h("div.tools", keysAt,
      choice("Along", [["epoch", "epochs"], ["step", "steps"], ["elapsed", "seconds from the start"]], settings.x, (x) => {
        settings.x = x;
        show();
      }),
      h("span.choice", h("label", { for: sliderId }, "Smoothing"), slider),
      toggle("Log scale", settings.log, (on) => {
        settings.log = on;
        chart?.rebuild();
      }),
      toggle("Bands", settings.bands, (on) => {
        settings.bands = on;
        chart?.rebuild();
      })),
    place);

  async function start() {
    const found = new Set();
    await each(jobs, async ({ job }) => {
      const { series } = await get(`jobs/${job.id}/metrics?max_points=2`, { signal });
      series.forEach((one) => found.add(one.key));
    });
    const keys = [...found].sort();
    if (!keys.length) return;
    key = FIRST.find((one) => found.has(one)) ?? keys[0];
    keysAt.replaceChildren(choice("Curve", keys.map((one) => [one, one]), key, (one) => {
      key = one;
      show();
    }));
    show();
  }

  /** A new chart: another unit, another axis. */
  function show() {
    if (!key) return;
    chart = new Chart({ title: key, unit: SHARES.some((one) => key.endsWith(one)) ? "percent" : null, settings, signal, onzoom: settled(load, 200) });
    place.replaceChildren(chart.element);
    chart.show(jobs.map(({ job, label }, at) => ({
      key: job.id, label, colour: PALETTE[at % PALETTE.length], dash: at >= PALETTE.length ? [6, 4] : null,
    })));
    load();
  }

  async function load() {
    const mine = chart;
    const points = Math.min(10_000, Math.ceil(2 * mine.width * mine.magnification));
    const data = new Map();
    await each(jobs, async ({ job }) => {
      const x = settings.x === "elapsed" ? "time" : settings.x;
      const { series } = await get(`jobs/${job.id}/metrics${query({ keys: key, x, max_points: points })}`, { signal });
      if (!series.length) return;
      const [{ x: along, y, y_min: lo, y_max: hi }] = series;
      data.set(job.id, { x: settings.x === "elapsed" ? along.map((at) => at - along[0]) : along, y, lo, hi });
    });
    if (mine === chart) mine.set(data);
  }

  start().catch(() => {});
  return { element, refresh: () => (key ? chart && load().catch(() => {}) : start().catch(() => {})) };
}

/** A few at a time; one that fails leaves the others alone. */
async function each(items, work) {
  const left = [...items];
  const worker = async () => {
    while (left.length) await work(left.shift()).catch(() => {});
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
