/** What a teacher knows on a data set beside the right answers, and which temperature that advises. */

import { ask, checked, everything, query } from "../lib/api.js";
import { fits } from "../lib/catalogue.js";
import { fresh, h, settled, sleep } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { apart, choice, facts, problem, prose, section, wide } from "../lib/parts.js";
import { alike, softness } from "./knowledge_pictures.js";
import { reliability } from "./calibration.js";

const WORDS = "What its answers tell beside the right one: which classes are alike, and how surely.";
const PAIRS = 10;

/** Of a teacher, on any data set that has its classes and that it can be given. */
export function darkness(teacher, signal) {
  const { element, tools, ask: load, tell } = panel(`teachers/${teacher.id}/report`, signal);
  everything("datasets", { signal }).then((all) => {
    const fit = all.filter((one) => one.state === "ready" && fits(teacher.network, one));
    if (!fit.length) return tell(h("p", "Register a data set with its classes and of its shape, and a worker finds out."));
    const more = apart(fit);
    tools.append(choice("On", fit.map((one) => [one.id, one.name + more(one)]), fit[0].id, (dataset) => load({ dataset })));
    return load({ dataset: fit[0].id });
  }).catch((error) => !signal.aborted && tell(problem(error)));
  return element;
}

/** Of who gave the outputs that a data set brings. */
export function recorded(dataset, signal) {
  const { element, ask: load } = panel(`datasets/${dataset.id}/report`, signal);
  load({});
  return element;
}

function panel(path, signal) {
  const place = h("div.room", { role: "status" });
  const id = fresh("size");
  const size = h("input", { id, type: "number", min: 1, step: 1, placeholder: "any", oninput: settled(() => size.checkValidity() && load({}), 400) });
  const tools = h("div.tools", h("span.choice", h("label", { for: id }, "Parameters of the student"), size));
  const element = section("Dark knowledge", h("p.small", WORDS), tools, place);
  const tell = (...children) => place.replaceChildren(...children.filter(Boolean));
  let about = {};
  let asked = new AbortController();

  async function load(changes) {
    about = { ...about, ...changes };
    asked.abort();
    asked = new AbortController();
    const mine = AbortSignal.any([signal, asked.signal]);
    const address = path + query({ ...about, parameters: size.value });
    try {
      for (let first = true; !mine.aborted; first = false) {
        const response = await checked(await ask(address, { signal: mine }));
        if (response.status !== 202) {
          const report = await response.json();
          if (!mine.aborted) tell(...shown(report));
          return;
        }
        if (first) tell(h("p", "A worker finds out; this takes a moment."));
        await sleep(1000 * Number(response.headers.get("retry-after") ?? 1), mine);
      }
    } catch (error) {
      if (!mine.aborted) tell(problem(error, { retry: () => load({}) }));
    }
  }
  return { element, tools, ask: load, tell };
}

function shown(report) {
  const names = report.class_names;
  return [advice(report.advice), soft(report), similar(report.similarity, names), trust(report.calibration)];
}

function advice({ temperatures: [low, high], first, reasons, caveat }) {
  return h("div",
    h("p", h("b", `Try T ${format.number(low)} to ${format.number(high)}`), `, and ${format.number(first)} first.`),
    h("ul", reasons.map((one) => h("li", prose(one)))),
    h("p.small", caveat));
}

function soft(report) {
  const drawn = report.examples === report.rows ? "all" : `${format.count(report.examples)} of`;
  return h("div",
    h("h3", "How soft its targets are"),
    h("p.small", `Of ${drawn} ${format.count(report.rows)} examples of the ${report.split} split, which students learn from.`),
    softness(report.softness, report.advice),
    h("details", h("summary", "The numbers"),
      wide("Soft targets at each temperature", h("table", h("caption.hidden", "Soft targets at each temperature"),
        h("thead", h("tr", ["T", "Entropy, nats", "Of log C", "Mass off the target"].map((name, at) => h(at ? "th.n" : "th", { scope: "col" }, name)))),
        h("tbody", report.softness.map((one) => h("tr", h("th", { scope: "row" }, format.number(one.temperature)),
          h("td.n", one.entropy.toFixed(4)), h("td.n", format.percent(one.entropy_share, 1)), h("td.n", format.percent(one.off_target, 1)))))))));
}

function similar(found, names) {
  const pairs = found.confused.slice(0, PAIRS);
  if (!pairs.length && !found.matrix) return null;
  return h("div",
    h("h3", "Which classes are alike"),
    h("p.small", `Where the mass off the target goes at T ${format.number(found.temperature)}; by chance each class would have ${format.percent(found.chance, 1)} of it.`),
    h("div.beside", alike(found, names),
      pairs.length > 0 && wide("The most alike", h("table", h("caption.hidden", "The most alike"),
        h("thead", h("tr", h("th", { scope: "col" }, "Class"), h("th", { scope: "col" }, "Is like"), h("th.n", { scope: "col" }, "Share"))),
        h("tbody", pairs.map(({ classes: [one, other], similarity }) =>
          h("tr", h("td", names[one]), h("td", names[other]), h("td.n", format.percent(similarity, 1)))))))));
}

function trust(found) {
  if (!found) return null;
  const side = (one) => ({ ece: one.ece, reliability: one.bins.filter((bin) => bin.examples > 0) });
  const { calibrated } = found;
  return h("div",
    h("h3", "How far its confidence can be trusted"),
    reliability({ teacher: side(found.plain) }),
    facts([
      ["Split", `${found.split}, ${format.count(found.examples)} examples`],
      ["Accuracy", format.percent(found.accuracy)],
      ["Calibration error", format.number(found.plain.ece, 3)],
      ["Calibrating T", calibrated && `${format.number(found.temperature, 3)}, found on ${found.fitted_on}`],
      ["Calibration error there", calibrated && format.number(calibrated.ece, 3)],
    ]));
}
