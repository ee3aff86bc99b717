/** All curves of a job, by what they measure: the student's beside the baseline's and the teacher's. */

import { get, query } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { fresh, h, settled } from "../lib/dom.js";
import { download } from "../lib/download.js";
import { choice, section, toggle } from "../lib/parts.js";

const MOST_POINTS = 10_000; // of a curve, as the API gives them
const RELOAD_MS = 1000;

/* What the charts are, in this order. Anything else that is measured gets a chart of its own. */
const CHARTS = [
  { title: "Accuracy on validation", keys: ["validation/accuracy", "validation/teacher_accuracy", "validation/ensemble_accuracy"], unit: "percent" },
  { title: "Training loss", keys: ["train/loss"] },
  { title: "Agreement with the teacher", keys: ["validation/agreement", "train/agreement"], unit: "percent" },
  { title: "Loss on validation", keys: ["validation/loss"] },
  { title: "Terms of the loss", keys: ["train/soft_loss", "train/hard_loss"] },
  { title: "Accuracy while training", keys: ["train/accuracy"], unit: "percent" },
  { title: "Learning rate", keys: ["train/lr"] },
];
/* How fast it goes is told in numbers while it does: as a curve it is noise. The files have it. */
const LEFT_OUT = ["train/samples_per_s"];
const WORDS = { "validation/teacher_accuracy": "teacher", "validation/ensemble_accuracy": "ensemble", "train/soft_loss": "soft", "train/hard_loss": "hard" };
const DASH = [6, 4];
/* What stands in for a teacher: each as far as can be from the colours of student and baseline. */
const CONTROLS = { label_smoothing: "line-3", cwtm: "line-4", permuted: "line-5", random_teacher: "line-8" };

/** baseline/0/train/loss is the measure train/loss of the run baseline/0, validation/peer_1/accuracy
 * is validation/accuracy of peer_1. */
export function parts(key) {
  const steps = key.split("/");
  const at = Math.max(steps.lastIndexOf("train"), steps.lastIndexOf("validation"), 0);
  const last = steps.length - 1;
  const run = [...steps.slice(0, at), ...steps.slice(at + 1, last)].join("/");
  return { run, measure: at === last ? key : `${steps[at]}/${steps[last]}` };
}

/** A number is the place of a seed: the first one needs no name. */
const named = (step) => (/^\d+$/.test(step) ? step !== "0" && `#${Number(step) + 1}` : step.replaceAll("_", " "));

function line(key, chart) {
  const { run, measure } = parts(key);
  const [kind, ...rest] = run.split("/");
  const who = run === "" ? "student" : [kind, ...rest].map((one) => named(one)).filter(Boolean).join(" ");
  const whole = measure.endsWith("_accuracy"); // of all who teach, not of one run's network
  const colour = whole ? (WORDS[measure] === "teacher" ? "teacher" : "line-4")
    : run === "" ? "student" : kind === "baseline" ? "baseline" : kind === "student" ? "line-5" : CONTROLS[rest[0]] ?? "line-6";
  const word = WORDS[measure];
  const several = chart.keys.length > 1 && !chart.keys.some((one) => one.endsWith("_accuracy"));
  const label = whole ? [word, run && who].filter(Boolean).join(" of ") : several ? `${who}, ${word ?? measure.split("/")[0]}` : who;
  const second = chart.keys.indexOf(measure) > 0;
  const seed = rest.some((one) => Number(one) > 0);
  return { key, label, colour, dash: second ? DASH : null, hidden: seed, group: seed ? "other seeds" : null };
}

/** A teacher knows as much whoever learns from it. */
function repeated(key) {
  const { run, measure } = parts(key);
  return run !== "" && WORDS[measure] === "teacher";
}

function charted(keys) {
  const left = new Map();
  for (const key of keys) {
    const { measure } = parts(key);
    if (LEFT_OUT.includes(measure)) continue;
    const chart = CHARTS.find((one) => one.keys.includes(measure)) ?? left.get(measure) ?? { title: measure.replaceAll("_", " "), keys: [measure] };
    if (!left.has(chart.title)) left.set(chart.title, { ...chart, found: [] });
    left.get(chart.title).found.push(key);
  }
  const order = (chart) => CHARTS.findIndex((one) => one.title === chart.title) + 1 || 99;
  return [...left.values()].sort((a, b) => order(a) - order(b));
}

/** The section, and the verbs by which the page tells it what happens. */
export function curves(id, signal) {
  const settings = { x: "epoch", smoothing: 0, log: false, bands: true, ...saved() };
  const charts = new Map();
  const grid = h("div.charts");
  const every = (verb, ...given) => charts.forEach((one) => one[verb](...given));

  const set = (name, value, verb) => {
    settings[name] = value;
    localStorage.setItem("stillhouse.curves", JSON.stringify(settings));
    every(verb);
  };
  const sliderId = fresh("slider");
  const slider = h("input", { id: sliderId, type: "range", min: 0, max: 0.98, step: 0.01, value: settings.smoothing });
  slider.addEventListener("input", () => set("smoothing", Number(slider.value), "redraw"));
  const tools = h(
    "div.tools",
    choice("Along", [["epoch", "epochs"], ["step", "steps"], ["time", "time"]], settings.x, (x) => set("x", x, "restart")),
    h("span.choice", h("label", { for: sliderId }, "Smoothing"), slider),
    toggle("Log scale", settings.log, (on) => set("log", on, "redraw")),
    toggle("Bands", settings.bands, (on) => set("bands", on, "redraw")),
    h("span.links", download(`jobs/${id}/metrics?format=csv`, `${id}-metrics.csv`, "CSV"),
      download(`jobs/${id}/metrics?format=parquet`, `${id}-metrics.parquet`, "Parquet")),
  );
  const element = section("Curves", tools, grid);
  element.hidden = true;

  function name(keys) {
    for (const chart of charted(keys)) {
      const known = charts.get(chart.title);
      if (known) known.name(chart.found);
      else {
        const made = new Panel(id, chart, settings, signal);
        charts.set(chart.title, made);
        grid.append(made.element);
      }
    }
    element.hidden = charts.size === 0;
  }

  return {
    element,
    /** All keys that there are; asked with two points of each. The number that they are known to. */
    async look() {
      const found = await get(`jobs/${id}/metrics?max_points=2`, { signal });
      name(found.series.map((one) => one.key));
      return found.seq ?? 0;
    },
    take(series) {
      name(series.map((one) => one.key));
      every("take", series);
    },
    stale: () => every("stale"),
  };
}

function saved() {
  try {
    return JSON.parse(localStorage.getItem("stillhouse.curves")) ?? {};
  } catch {
    return {};
  }
}

class Panel {
  constructor(id, chart, settings, signal) {
    Object.assign(this, { id, spec: chart, settings, signal });
    this.keys = [];
    this.data = new Map();
    this.seen = false;
    const reload = settled(() => this.load(), 200);
    this.chart = new Chart({ title: chart.title, unit: chart.unit, settings, signal, onzoom: reload });
    this.element = this.chart.element;
    this.name(chart.found);
    const eye = new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen && this.due) this.load();
    }, { rootMargin: "200px" });
    eye.observe(this.element);
    signal.addEventListener("abort", () => eye.disconnect());
    this.due = true;
  }

  name(keys) {
    if (keys.every((key) => this.keys.includes(key))) return;
    const all = [...new Set([...this.keys, ...keys])].filter((key) => !repeated(key));
    if (all.length === this.keys.length) return;
    this.keys = all.sort((a, b) => this.place(a) - this.place(b));
    this.chart.show(this.keys.map((key) => line(key, this.spec)));
    this.stale();
  }

  /** First what is seen at once, the student before the baseline before the teacher. */
  place(key) {
    const { run, measure } = parts(key);
    const runs = ["", "baseline/0"];
    return (runs.includes(run) ? runs.indexOf(run) : 9) + 2 * this.spec.keys.indexOf(measure);
  }

  /** How many points are worth asking for: two a pixel of what is seen. */
  get points() {
    return Math.min(MOST_POINTS, Math.ceil(2 * this.chart.width * this.chart.magnification));
  }

  async load() {
    if (this.loading || this.signal.aborted) return;
    if (!this.seen) {
      this.due = true;
      return;
    }
    this.loading = true;
    this.due = false;
    const points = this.points;
    const x = this.settings.x;
    try {
      const asked = { keys: this.keys.join(","), x, max_points: points };
      const found = await get(`jobs/${this.id}/metrics${query(asked)}`, { signal: this.signal });
      if (x === this.settings.x && found !== this.found) {
        this.found = found;
        this.asked = points;
        this.data = new Map(found.series.map((one) => [one.key, curve(one)]));
        this.chart.set(this.data);
      }
    } catch {
      this.due = !this.signal.aborted;
    } finally {
      this.loading = false;
    }
    if (this.due || x !== this.settings.x) this.stale();
  }

  /** New points of curves, as the stream tells them. */
  take(series) {
    if (this.loading) this.due = true; // the answer on its way may not have them
    for (const one of series) {
      if (!this.keys.includes(one.key)) continue;
      if (!this.data.has(one.key)) this.data.set(one.key, curve({ x: [], y: [] }));
      if (!append(this.data.get(one.key), one[this.settings.x], one.value)) this.stale();
      if (this.data.get(one.key).x.length > 2 * (this.asked ?? this.points) + 100) this.stale();
    }
    if (this.seen) this.chart.draw();
    this.chart.data = this.data;
  }

  /** There may be something else to see: asks again, but not more often than is of use. */
  stale() {
    this.due = true;
    if (this.waiting) return;
    const since = performance.now() - (this.last ?? -Infinity);
    this.waiting = setTimeout(() => {
      this.waiting = null;
      this.last = performance.now();
      this.load();
    }, Math.max(0, RELOAD_MS - since));
  }

  redraw() {
    this.chart.rebuild();
  }

  restart() {
    this.chart.zoom = null;
    this.found = null;
    this.chart.rebuild();
    this.stale();
  }
}

function curve({ x, y, y_min, y_max }) {
  return { x: [...x], y: [...y], lo: [...(y_min ?? y)], hi: [...(y_max ?? y)] };
}

/** False where the new points do not go on from the old ones. */
function append(to, x, values) {
  for (let at = 0; at < x.length; at++) {
    const end = to.x.length - 1;
    if (end >= 0 && x[at] < to.x[end]) return false;
    const place = end >= 0 && x[at] === to.x[end] ? end : end + 1;
    to.x[place] = x[at];
    to.y[place] = to.lo[place] = to.hi[place] = values[at];
  }
  return true;
}
