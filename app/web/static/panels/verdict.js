/** Whether it helped: the word, the number, and how sure it is. */

import { h, s } from "../lib/dom.js";
import * as format from "../lib/format.js";

const WORDS = {
  helped: ["▲", "Distillation helped", "helped"],
  hurt: ["▼", "Distillation hurt", "hurt"],
  "not distinguishable": ["◇", "No difference that can be told from chance", "not distinguishable"],
  "no baseline": ["○", "No baseline to compare with", "no baseline"],
};
const words = (verdict) => WORDS[verdict] ?? ["○", verdict, verdict];

/** In a list. */
export function mark(report) {
  const [sign, , word] = words(report.verdict);
  return h(
    "span.mark",
    { "data-verdict": report.verdict, title: report.sentence },
    h("i", { "aria-hidden": "true" }, sign),
    report.difference ? ` ${format.points(report.difference.accuracy)} ` : " ",
    h("small", word),
  );
}

/** On a job's page. */
export function verdict(report) {
  const [sign, title] = words(report.verdict);
  const { difference } = report;
  return h(
    "section.verdict",
    { "data-verdict": report.verdict, "aria-label": "Verdict" },
    h("p.word", h("i", { "aria-hidden": "true" }, sign), " ", title),
    difference && h("p.figure", h("b", format.points(difference.accuracy)), " points of accuracy"),
    difference && forest(difference),
    h("p.sentence", report.sentence),
    report.attribution && h("p.sentence", report.attribution.sentence),
    saved(report),
  );
}

/** What the smaller network costs, in words. */
function saved({ teacher, student }) {
  if (!teacher?.parameters || !student?.parameters) return null;
  const factor = teacher.parameters / student.parameters;
  const parts = [];
  if (factor >= 1.05) parts.push(`${format.number(factor, 2)} times fewer parameters than the teacher`);
  if (teacher.accuracy && student.accuracy) parts.push(`${format.percent(student.accuracy / teacher.accuracy, 1)} of its accuracy`);
  if (teacher.latency_ms && student.latency_ms && teacher.latency_ms > student.latency_ms) {
    parts.push(`${format.number(teacher.latency_ms / student.latency_ms, 2)} times as fast`);
  }
  return parts.length > 0 && h("p.saved", `The student: ${parts.join(", ")}.`);
}

const WIDTH = 560;
const ROW = 22;

/** Intervals of the difference over a line at zero: one for each seed, and the one that counts. */
function forest(difference) {
  const seeds = difference.seeds ?? [];
  const rows = seeds.length > 1 ? seeds.map((one) => ({ ...one, label: `seed ${one.seed}` })) : [];
  rows.push({ ...difference, label: rows.length ? "together" : "", whole: true });
  const most = 1.15 * Math.max(0.002, ...rows.flatMap((one) => one.interval.map(Math.abs)));
  const left = rows.length > 1 ? 74 : 0;
  const at = (value) => left + ((value + most) / (2 * most)) * (WIDTH - left);
  const height = ROW * rows.length + 24;
  const ticks = [-most / 1.15, 0, most / 1.15];
  const [low, high] = difference.interval;
  return s(
    "svg",
    { class: "forest", viewBox: `0 0 ${WIDTH} ${height}`, role: "img",
      "aria-label": `The 95 % interval of the difference goes from ${format.points(low)} to ${format.points(high)} points.` },
    s("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: height - 18 }),
    rows.map((one, index) => {
      const y = ROW * index + ROW / 2;
      const size = one.whole ? 6 : 3.5;
      return s("g", { class: one.whole ? "whole" : "" },
        one.label && s("text", { x: 0, y: y + 4 }, one.label),
        s("line", { class: "interval", x1: at(one.interval[0]), x2: at(one.interval[1]), y1: y, y2: y }),
        s("path", { d: `M${at(one.accuracy)} ${y - size}l${size} ${size}l-${size} ${size}l-${size} -${size}z` }));
    }),
    ticks.map((tick) => s("text", { class: "tick", x: at(tick), y: height - 4,
      "text-anchor": "middle" }, tick === 0 ? "0" : format.points(tick, 1))),
  );
}
