/** Forms made of JSON Schema. What is left empty is not sent: the API's own default holds. */

import { fields } from "./fields.js";
import { fresh, h } from "./dom.js";
import { words } from "./schema.js";

const FEW = 6;
const SHOWN = 5;

/**
 * A value that is being composed, and the fields that it is composed with.
 *
 * `own` maps JSON pointers to functions (schema, pointer, form) that make a field in place of the
 * usual one. `onchange()` is called after each change.
 */
export class Form {
  constructor({ value = {}, own = {}, onchange }) {
    Object.assign(this, { value, own, onchange });
    this.places = new Map();
    this.touched = new Set();
  }

  read(pointer) {
    return steps(pointer).reduce((at, step) => at?.[step], this.value);
  }

  /** Undefined takes it away, and what is then empty above it. */
  write(pointer, value, { quiet } = {}) {
    const path = steps(pointer);
    this.value = changed(this.value, path, value) ?? {};
    if (!quiet) {
      this.touched.add(pointer);
      this.onchange();
    }
  }

  /** The fields of an object's properties. Of many, those behind the first few are folded away. */
  object(schema, pointer, { only, except = [] } = {}) {
    const properties = schema.properties.filter(([name]) => (only ? only.includes(name) : !except.includes(name)));
    const required = (name) => schema.node.required?.includes(name);
    const filled = (name) => this.read(`${pointer}/${escaped(name)}`) !== undefined;
    const folded = properties.filter(([name], at) => !only && properties.length > FEW && at >= SHOWN && !required(name) && !filled(name));
    const field = ([name, one]) => this.field(one, `${pointer}/${escaped(name)}`, { label: words(name), required: required(name) });
    return h("div.fields", properties.filter((one) => !folded.includes(one)).map(field),
      folded.length > 0 && h("details.full", h("summary", `More: ${folded.map(([name]) => words(name)).join(", ")}`), h("div.fields", folded.map(field))));
  }

  field(schema, pointer, { label, required }) {
    const own = this.own[pointer] ?? this.own[pointer.replace(/\/\d+/g, "/*")];
    if (own) return own(schema, pointer, this);
    const make = fields[schema.isFile ? "file" : schema.kind] ?? fields.string;
    return make({ schema, pointer, form: this, label, required });
  }

  /** A label, a control, what is said of it, and room for what is wrong with it. */
  frame(control, { label, pointer, note, full, check }) {
    const id = (control.id ||= fresh("field"));
    const noteId = fresh("note");
    const wrong = h("p.wrong", { id: fresh("wrong") });
    this.places.set(pointer, { control, wrong });
    control.setAttribute("aria-describedby", [note && noteId, wrong.id].filter(Boolean).join(" "));
    const name = h("label", { for: id }, label);
    return h(
      `div.field${full ? ".full" : ""}${check ? ".check" : ""}`,
      check ? [control, name] : [name, control],
      wrong,
      note && h("p.note", { id: noteId }, note),
    );
  }

  group(legend, { pointer, note }, ...children) {
    const wrong = h("p.wrong", { id: fresh("wrong") });
    const element = h("fieldset", { "aria-describedby": wrong.id }, h("legend", legend), note && h("p.note", note), wrong, ...children);
    this.places.set(pointer, { control: element, wrong });
    return element;
  }

  /**
   * Shows each problem at its field: the one at its pointer, or the nearest above that is there.
   * Returns those that belong to none.
   */
  complain(problems) {
    for (const { control, wrong } of this.places.values()) {
      if (wrong.textContent) wrong.textContent = "";
      if (control.hasAttribute("aria-invalid")) control.removeAttribute("aria-invalid");
    }
    return problems.filter((problem) => {
      for (let pointer = problem.pointer; pointer; pointer = pointer.slice(0, pointer.lastIndexOf("/"))) {
        const place = this.places.get(pointer);
        if (!place?.wrong.isConnected) continue;
        place.wrong.textContent += `${place.wrong.textContent ? " " : ""}${problem.detail}`;
        place.control.setAttribute("aria-invalid", "true");
        return false;
      }
      return true;
    });
  }

  /** Goes to the field of a pointer, opening what hides it. */
  reach(pointer) {
    for (; pointer; pointer = pointer.slice(0, pointer.lastIndexOf("/"))) {
      const place = this.places.get(pointer);
      if (!place?.control.isConnected) continue;
      for (let at = place.control.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
      const target = place.control.matches("fieldset") ? place.control.querySelector("input, select, textarea, button, a") : place.control;
      target?.focus({ preventScroll: true });
      target?.scrollIntoView({ block: "center" }); // with its label above it and what is wrong below
      return;
    }
  }
}

const escaped = (step) => step.replaceAll("~", "~0").replaceAll("/", "~1");
export const steps = (pointer) => pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));

function changed(value, [step, ...rest], to) {
  if (step === undefined) return to;
  const copy = Array.isArray(value) ? [...value] : { ...(value ?? {}) };
  const inner = changed(copy[step], rest, to);
  if (inner !== undefined) copy[step] = inner;
  else if (Array.isArray(copy)) copy.splice(Number(step), 1);
  else delete copy[step];
  return Array.isArray(copy) || Object.keys(copy).length ? copy : undefined;
}
