/** Two numbers that jobs differ in, as a grid of what came of them: temperature by alpha, say. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { choice, section, wide } from "../lib/parts.js";
import { differing, leaves } from "./differences.js";

const LIKED = ["method/temperature", "method/alpha"];
const MEASURES = {
  "accuracy of the student": [(report) => report.student?.accuracy, (value) => format.percent(value)],
  "points over the baseline": [(report) => report.difference?.accuracy, (value) => format.points(value)],
  "agreement with the teacher": [(report) => report.student?.agreement, (value) => format.percent(value)],
  "calibration error": [(report) => report.student?.ece, (value) => format.decimal(value)],
  "negative log likelihood": [(report) => report.student?.nll, (value) => format.decimal(value)],
};
const DEEPEST = 42; // per cent of the colour, so that the numbers stay readable

let chosen = {};

/** Null unless there are two fields with several numbers, and reports. */
export function heat(jobs) {
  const told = jobs.filter((one) => one.report).map((one) => ({ ...one, at: leaves(one.job.spec) }));
  const fields = differing(jobs).filter((name) => told.length > 1 && told.every((one) => typeof one.at[name] === "number"));
  fields.sort((a, b) => place(a) - place(b));
  if (fields.length < 2) return null;
  const down = fields.includes(chosen.down) ? chosen.down : fields[0];
  const across = fields.includes(chosen.across) && chosen.across !== down ? chosen.across : fields.find((one) => one !== down);
  const measure = chosen.measure ?? Object.keys(MEASURES)[0];
  const holder = h("div");
  const pick = (name) => (value) => {
    chosen = { ...chosen, down, across, measure, [name]: value };
    const made = heat(jobs);
    element.replaceWith(made);
  };
  const names = fields.map((one) => [one, short(one)]);
  const element = section("Map",
    h("div.tools", choice("Shows", Object.keys(MEASURES).map((one) => [one, one]), measure, pick("measure")),
      choice("Down", names, down, pick("down")), choice("Across", names, across, pick("across"))),
    holder);
  holder.append(grid(told, down, across, MEASURES[measure]));
  return element;
}

const place = (name) => (LIKED.includes(name) ? LIKED.indexOf(name) : LIKED.length);
const short = (name) => name.split("/").pop().replaceAll("_", " ");

function grid(told, down, across, [read, shown]) {
  const values = (name) => [...new Set(told.map((one) => one.at[name]))].sort((a, b) => a - b);
  const all = told.map((one) => read(one.report)).filter((value) => value !== undefined && value !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const cell = (y, x) => {
    const here = told.filter((one) => one.at[down] === y && one.at[across] === x && read(one.report) !== undefined && read(one.report) !== null);
    if (!here.length) return h("td", h("span.hidden", "none"));
    const value = here.reduce((sum, one) => sum + read(one.report), 0) / here.length;
    const depth = high > low ? ((value - low) / (high - low)) * DEEPEST : DEEPEST / 2;
    return h("td", { style: { "--cell": `color-mix(in oklab, var(--copper) ${depth.toFixed(1)}%, var(--sheet))` } },
      h("a", { href: `#/jobs/${here[0].job.id}`, title: here.map((one) => one.job.name).join(", ") },
        shown(value), here.length > 1 && h("small", ` of ${here.length}`)));
  };
  return wide("Map", h("table.heat", h("caption.small", `${short(down)} down, ${short(across)} across`),
    h("thead", h("tr", h("td", h("span.hidden", short(down))), values(across).map((x) => h("th", { scope: "col" }, format.number(x))))),
    h("tbody", values(down).map((y) => h("tr", h("th", { scope: "row" }, format.number(y)), values(across).map((x) => cell(y, x)))))));
}
