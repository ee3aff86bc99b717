/** A row a job: what differs in what was asked, and what came of it; sorted by any column. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { section, state, wide } from "../lib/parts.js";
import { named } from "../lib/resource.js";
import { mark } from "./verdict.js";

const APART = ["name", "labels"];
const IDS = { dataset: "datasets", teachers: "teachers" };
const RESULTS = [
  ["Verdict", (one) => one.report?.difference?.accuracy, (one) => one.report && mark(one.report)],
  ["Student", (one) => one.report?.student?.accuracy, (one, value) => format.percent(value)],
  ["Baseline", (one) => one.report?.baseline?.accuracy, (one, value) => format.percent(value)],
  ["Teacher", (one) => one.report?.teacher?.accuracy, (one, value) => format.percent(value)],
  ["NLL", (one) => one.report?.student?.nll, (one, value) => format.decimal(value)],
  ["Calibration error", (one) => one.report?.student?.ece, (one, value) => format.decimal(value)],
  ["Agreement", (one) => one.report?.student?.agreement, (one, value) => format.percent(value)],
  ["Parameters", (one) => one.report?.student?.parameters, (one, value) => format.count(value)],
];

/** "training/optimizer/lr" to value, for every leaf of a specification. */
export function leaves(value, path = []) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return { [path.join("/")]: value };
  return Object.assign({}, ...Object.entries(value)
    .filter(([name]) => path.length || !APART.includes(name))
    .map(([name, one]) => leaves(one, [...path, name])));
}

export function differing(jobs) {
  const all = jobs.map(({ job }) => leaves(job.spec));
  const names = [...new Set(all.flatMap(Object.keys))];
  return names.filter((name) => new Set(all.map((one) => JSON.stringify(one[name]))).size > 1);
}

let order = { column: null, down: true };

/** jobs: [{ job, label, report }] */
export function differences(jobs, drop, signal) {
  const fields = differing(jobs);
  const columns = [
    ["Job", (one) => one.label, (one) => h("a", { href: `#/jobs/${one.job.id}` }, one.label)],
    ["State", (one) => one.job.state, (one) => state(one.job.state)],
    ...fields.map((name) => [short(name, fields), (one) => leaves(one.job.spec)[name], (one, value) => told(value, IDS[name], signal)]),
    ...RESULTS.filter(([, value]) => jobs.some((one) => value(one) !== undefined && value(one) !== null)),
  ];
  const body = h("tbody");
  const heads = columns.map(([name], at) => {
    const cell = h(at > 1 ? "th.n" : "th", { scope: "col" }, h("button.quiet.sort", { type: "button", onclick: () => sort(at) }, name));
    return cell;
  });
  function sort(at) {
    order = { column: columns[at][0], down: order.column === columns[at][0] ? !order.down : true };
    paint();
  }
  function paint() {
    const at = columns.findIndex(([name]) => name === order.column);
    const rows = [...jobs];
    if (at >= 0) rows.sort((a, b) => compared(columns[at][1](a), columns[at][1](b)) * (order.down ? -1 : 1));
    heads.forEach((cell, index) => cell.setAttribute("aria-sort", index !== at ? "none" : order.down ? "descending" : "ascending"));
    body.replaceChildren(...rows.map((one) => h("tr", columns.map(([, value, content], index) => {
      const shown = content(one, value(one)) || format.NONE;
      return index ? h(index > 1 ? "td.n" : "td", shown) : h("th", { scope: "row" }, shown,
        h("button.quiet", { type: "button", "aria-label": `Without ${one.label}`, onclick: () => drop(one.job.id) }, "×"));
    }))));
  }
  paint();
  return section("Asked and found",
    h("p.small", fields.length ? "Columns show what differs between the jobs, then what their reports say." : "These jobs ask for the very same."),
    wide("Jobs", h("table.sorted", h("caption.hidden", "Jobs, what differs between them, and their results"), h("thead", h("tr", heads)), body)));
}

/** The last step, if that is enough to tell it apart. */
function short(name, fields) {
  const end = name.split("/").pop();
  const alone = fields.filter((one) => one.split("/").pop() === end).length === 1;
  return (alone ? end : name.replaceAll("/", " › ")).replaceAll("_", " ");
}

function told(value, kind, signal) {
  if (value === undefined || value === null) return format.NONE;
  if (kind) return [value].flat().map((id) => h("div", named(kind, id, signal)));
  if (typeof value === "number") return format.number(value);
  return Array.isArray(value) ? value.map((one) => (typeof one === "object" ? JSON.stringify(one) : one)).join(", ") : String(value);
}

/** What is not there is last, whichever way. */
function compared(a, b) {
  const none = (value) => value === undefined || value === null;
  if (none(a) || none(b)) return none(a) - none(b) === 0 ? 0 : (none(a) ? -1 : 1) * (order.down ? 1 : -1);
  return a < b ? -1 : a > b ? 1 : 0;
}
