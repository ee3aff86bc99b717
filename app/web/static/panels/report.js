/** The report of a job that succeeded: the verdict, the three sides, and how they are wrong. */

import { get, maybe } from "../lib/api.js";
import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { section, wide } from "../lib/parts.js";
import { calibration } from "./calibration.js";
import { confusion } from "./confusion.js";
import { verdict } from "./verdict.js";

const SIDES = ["teacher", "student", "baseline", "ensemble"];
/* name, how it is read, whether less is better (null: neither) */
const MEASURES = [
  ["Accuracy", (side) => format.percent(side.accuracy), "accuracy", false],
  ["95 % interval", (side) => side.interval && `${format.decimal(100 * side.interval[0], 2)} – ${format.percent(side.interval[1])}`],
  ["Errors", (side) => format.count(side.errors), "errors", true],
  ["Negative log likelihood", (side) => format.decimal(side.nll), "nll", true],
  ["Calibration error", (side) => format.decimal(side.ece), "ece", true],
  ["Agreement with the teacher", (side) => side.agreement !== undefined && format.percent(side.agreement), "agreement", false],
  ["KL to the teacher", (side) => side.kl_to_teacher !== undefined && format.decimal(side.kl_to_teacher), "kl_to_teacher", true],
  ["Parameters", (side) => format.count(side.parameters)],
  ["Work for an example", (side) => format.rough(side.flops, "FLOP")],
  ["Size", (side) => format.bytes(side.bytes)],
  ["Latency on a CPU", (side) => side.latency_ms !== undefined && `${format.decimal(side.latency_ms, 3)} ms`],
  ["Best epoch", (side) => side.best_epoch !== undefined && format.count(side.best_epoch)],
  ["Trained for", (side) => side.train_seconds !== undefined && format.duration(side.train_seconds)],
];

export function report(id, signal) {
  const sides = h("div");
  const details = h("div");
  let asked = false;

  /** Puts the verdict into `top`; what it cannot tell, `otherwise` does. */
  async function load(job, top, otherwise) {
    if (asked) return;
    asked = true;
    const found = await maybe(`jobs/${id}/report`, { signal });
    top.replaceChildren(found ? verdict(found) : otherwise);
    if (!found) return;
    const { data } = await get(`jobs/${id}/artifacts`, { signal });
    const predictions = data.find((one) => one.name === "predictions.parquet");
    sides.replaceChildren(comparison(found));
    details.replaceChildren(
      calibration(found) ?? "",
      ...(predictions ? [confusion(found, predictions.url, signal)] : []),
      classes(found) ?? "",
    );
  }
  return {
    sides,
    details,
    load: (job, top, otherwise) => load(job, top, otherwise).catch(() => (asked = false)),
  };
}

function comparison(report) {
  const { controls = {} } = report;
  const found = { ...report, ...controls };
  const several = report.difference?.seeds.length > 1;
  const sides = [...SIDES.filter((name) => report[name]), ...Object.keys(controls).filter((name) => !controls[name].failed)];
  const rows = MEASURES.map(([label, shown, measure, less]) => {
    const values = sides.map((name) => shown(found[name]));
    if (values.every((one) => !one || one === format.NONE)) return null;
    const two = sides.filter((name) => name === "student" || name === "baseline").map((name) => found[name][measure]);
    const best = measure && two.length === 2 && two[0] !== two[1] ? (less ? Math.min : Math.max)(...two) : null;
    return h("tr", h("th", { scope: "row" }, label), sides.map((name, at) =>
      h("td.n", best !== null && name !== "teacher" && found[name][measure] === best ? h("b", values[at]) : values[at] || format.NONE)));
  });
  return section(
    "Teacher, student and baseline",
    h("p.small", `On the ${found.split} split, which had no part in any choice; in float32. The better of student and baseline is bold.${several ? " These are the runs of the first seed; the verdict is over all of them." : ""}`),
    wide("Comparison", h("table", h("caption.hidden", "Measures of each side"),
      h("thead", h("tr", h("th", { scope: "col" }, "Measure"), sides.map((name) => h("th.n", { scope: "col" }, name.replaceAll("_", " "))))),
      h("tbody", rows))),
    Object.keys(controls).filter((name) => controls[name].failed).map((name) =>
      h("p.small", `The control ${name.replaceAll("_", " ")} came to nothing: ${controls[name].failed}.`)),
  );
}

/** Where the student gains or loses most, by class. */
function classes(found) {
  const { student, baseline, teacher } = found;
  if (!student?.per_class?.length) return null;
  const other = baseline?.per_class;
  const rows = student.per_class.map((one, at) => ({ ...one, gain: other ? one.accuracy - other[at].accuracy : null, teacher: teacher?.per_class?.[at] }));
  const body = rows.map((one) => h("tr",
    h("th", { scope: "row" }, one.name), h("td.n", format.count(one.examples)),
    teacher?.per_class && h("td.n", format.percent(one.teacher.accuracy, 1)),
    h("td.n", format.percent(one.accuracy, 1)),
    other && h("td.n", format.points(one.gain, 1))));
  return section("By class", h("details", { open: rows.length <= 12 },
    h("summary", `${rows.length} classes`),
    wide("By class", h("table", h("caption.hidden", "Accuracy of each class"),
      h("thead", h("tr", ["Class", "Examples", teacher?.per_class && "Teacher", "Student", other && "Over the baseline"].filter(Boolean)
        .map((name, at) => h(at ? "th.n" : "th", { scope: "col" }, name)))),
      h("tbody", body)))));
}
