/** The dark knowledge of a teacher on a data set, as the service reports it: shows what is there. */

import { ask, checked, everything } from "../lib/api.js";
import { h, sleep } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { choice, facts, problem, section, wide } from "../lib/parts.js";
import { words } from "../lib/schema.js";

export function darkness(teacher, signal) {
  const place = h("div", { role: "status" });
  const tools = h("div.tools");
  const element = section("Dark knowledge", h("p.small", "What its answers tell beside the right one: which classes are alike, and how surely."), tools, place);
  element.hidden = true;
  let asked = new AbortController();

  async function load(dataset) {
    asked.abort();
    asked = new AbortController();
    const mine = AbortSignal.any([signal, asked.signal]);
    place.replaceChildren();
    try {
      for (let first = true; !mine.aborted; first = false) {
        const response = await ask(`teachers/${teacher.id}/report?dataset=${dataset}`, { signal: mine });
        if (response.status === 404 || response.status === 405) return void (element.hidden = true);
        element.hidden = false;
        if (response.status !== 202) {
          place.replaceChildren(...shown(await (await checked(response)).json()));
          return;
        }
        if (first) place.replaceChildren(h("p", "A worker computes it; this takes a moment."));
        await sleep(1000 * Number(response.headers.get("retry-after") ?? 1), mine);
      }
    } catch (error) {
      if (!mine.aborted) {
        element.hidden = false;
        place.replaceChildren(problem(error));
      }
    }
  }

  everything("datasets", { signal }).then((all) => {
    const fit = all.filter((one) => one.state === "ready" && (one.classes === null || one.classes === teacher.network.classes));
    if (!fit.length) return;
    tools.append(choice("On", fit.map((one) => [one.id, one.name]), fit[0].id, load));
    load(fit[0].id);
  }).catch(() => {});
  return element;
}

const isPicture = (value) => typeof value === "string" && (value.startsWith("data:image/") || value.trimStart().startsWith("<svg"));

/** A picture is only ever an image: a script in it would not run. */
function picture(name, value) {
  const src = value.startsWith("data:") ? value : `data:image/svg+xml;utf8,${encodeURIComponent(value)}`;
  return h("figure", h("img.picture", { src, alt: words(name) }), h("figcaption.small", words(name)));
}

/** Sentences, numbers, tables and pictures of a document, in its own order. */
function shown(document, level = 0) {
  const numbers = [];
  const rest = [];
  for (const [name, value] of Object.entries(document)) {
    if (value === null || value === undefined) continue;
    if (isPicture(value)) rest.push(picture(name, value));
    else if (typeof value === "number") numbers.push([words(name), format.number(value)]);
    else if (typeof value === "string" && value.length > 60) rest.unshift(h("p", value));
    else if (typeof value !== "object") numbers.push([words(name), String(value)]);
    else if (Array.isArray(value)) rest.push(listed(name, value));
    else if (level < 3) rest.push(h("div", h("h3", words(name)), ...shown(value, level + 1)));
  }
  return [numbers.length > 0 && facts(numbers), ...rest].filter(Boolean);
}

function listed(name, values) {
  if (!values.length) return null;
  if (values.every((one) => one && typeof one === "object" && !Array.isArray(one))) {
    const columns = [...new Set(values.flatMap(Object.keys))].filter((one) => typeof values[0][one] !== "object" || values[0][one] === null);
    return h("div", h("h3", words(name)), wide(words(name), h("table", h("caption.hidden", words(name)),
      h("thead", h("tr", columns.map((one) => h("th", { scope: "col" }, words(one))))),
      h("tbody", values.slice(0, 50).map((row) => h("tr", columns.map((one) => h("td", cell(row[one])))))))));
  }
  if (values.some((one) => typeof one === "object")) return null;
  return h("div", h("h3", words(name)), h("p", values.map(cell).join(", ")));
}

const cell = (value) => (typeof value === "number" ? format.number(value) : String(value ?? format.NONE));
