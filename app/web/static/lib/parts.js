/** Small things that every page shows alike. */

import { fresh, h, text } from "./dom.js";
import * as format from "./format.js";

export const STATES = ["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"];
export const ENDED = ["succeeded", "failed", "cancelled"];

/** A dot and a word, so that colour is never alone. */
export function state(value) {
  return h("span.state", { "data-state": value }, value);
}

/** A time that stays true: relative, and exact when it is pointed at. */
export function time(date) {
  if (!date) return h("span", format.NONE);
  return h("time", { datetime: date, title: format.exact(date) }, format.ago(date));
}

setInterval(() => {
  for (const one of document.querySelectorAll("time[datetime]")) text(one, format.ago(one.dateTime));
}, 5000);

export function empty(title, ...children) {
  return h("div.empty", h("h2", title), ...children);
}

export function problem(error, { retry } = {}) {
  return h(
    "div.problem",
    { role: "alert" },
    h("p", h("strong", error.message)),
    error.requestId && h("p.small", `Request ${error.requestId}`),
    retry && h("button", { type: "button", onclick: retry }, "Try again"),
  );
}

/** A heading of a page; it takes the focus when the page is opened. */
export function heading(title, ...beside) {
  return h("div.heading", h("h1", { tabindex: "-1" }, title), ...beside);
}

export function section(title, ...children) {
  const id = fresh("section");
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

/** What may be wider than a phone scrolls by itself, by keyboard too. */
export function wide(label, child) {
  return h("div.wide", { tabindex: "0", role: "group", "aria-label": label }, child);
}

/** rows: [[name, value or node], ...]; those without a value are left out. */
export function facts(rows) {
  return refill(h("dl.facts"), rows);
}

/** Says it again, and touches only what has changed. */
export function refill(list, rows) {
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  const names = told.map(([name]) => name).join();
  if (list.names !== names) list.replaceChildren(...told.map(([name]) => h("div", h("dt", name), h("dd"))));
  list.names = names;
  told.forEach(([, value], at) => {
    const place = list.children[at].lastElementChild;
    if (value instanceof Node || Array.isArray(value)) place.replaceChildren(...[value].flat());
    else text(place, String(value));
  });
  return list;
}

/** Words in which names stand in backticks. */
export const prose = (words) => words.split("`").map((part, at) => (at % 2 ? h("code", part) : part));

export function code(value, label) {
  const body = h("pre", { tabindex: "0", role: "group", "aria-label": label }, h("code", value));
  return h("div.code", body, copy(() => body.textContent, label));
}

/** Only where the browser lets a page write to the clipboard. */
export function copy(content, what) {
  if (!navigator.clipboard) return null;
  const button = h("button.quiet", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(content());
    text(button, "Copied");
    setTimeout(() => text(button, "Copy"), 1500);
  });
  return button;
}

/** Of things to choose from: what to say after a name that several have, so that they are told apart. */
export function apart(things) {
  const named = Map.groupBy(things, (one) => one.name);
  return (one) => (named.get(one.name).length > 1 ? ` · registered ${format.moment(one.created_at)}` : "");
}

export function choice(label, options, value, onchange) {
  const id = fresh("choice");
  const select = h(
    "select",
    { id, onchange: () => onchange(select.value) },
    options.map(([name, shown]) => h("option", { value: name, selected: name === value }, shown)),
  );
  return h("span.choice", h("label", { for: id }, label), select);
}

/** Some of a few: buttons that stay pressed. */
export function toggle(label, pressed, onchange) {
  const button = h("button.toggle", { type: "button", "aria-pressed": String(pressed) }, label);
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(now));
    onchange(now);
  });
  return button;
}
