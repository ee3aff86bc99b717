/** A field for each kind of schema. Values are sent as they were typed: the API says what is wrong. */

import { h } from "./dom.js";
import { prose } from "./parts.js";
import { words } from "./schema.js";
import { upload } from "./upload.js";

const shown = (value) => (value === undefined || value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value));

/** Text that is one of the kinds below; empty is the default. */
function typed(read) {
  return ({ schema, pointer, form, label, required }) => {
    const { solid } = schema;
    const value = form.read(pointer);
    const bounds = range(solid.node);
    const input = h("input", {
      type: "text",
      value: shown(value),
      placeholder: shown(schema.fallback) || (schema.nullable ? "not set" : ""),
      inputmode: ["integer", "number"].includes(schema.kind) ? "decimal" : null,
      spellcheck: "false",
      required,
    });
    input.addEventListener("input", () => form.write(pointer, input.value.trim() === "" ? undefined : read(input.value, schema)));
    const field = form.frame(input, { label: label + bounds, pointer, note: note(schema) });
    return schema.nullable && schema.fallback !== undefined && schema.fallback !== null
      ? withNone(field, input, { pointer, form, value }) : field;
  };
}

/** For what null means something else than the default. */
function withNone(field, input, { pointer, form, value }) {
  const none = h("input", { type: "checkbox", checked: value === null });
  const set = () => (input.disabled = none.checked);
  none.addEventListener("change", () => {
    set();
    form.write(pointer, none.checked ? null : input.value.trim() || undefined);
  });
  set();
  field.append(h("label.note", none, " none"));
  return field;
}

const parsed = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
const list = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

export const fields = {
  integer: typed(parsed),
  number: typed(parsed),
  string: typed((text) => text),
  list: typed((text, schema) => (schema.isNumeric ? list(text).map(parsed) : list(text))),
  /* One name, or several. */
  texts: typed((text) => (text.includes(",") ? list(text) : text)),

  const: () => null,

  enum({ schema, pointer, form, label }) {
    const value = form.read(pointer) ?? schema.fallback;
    const { enum: choices } = schema.solid.node;
    const empty = schema.fallback === undefined || schema.fallback === null;
    const select = h("select", empty && h("option", { value: "" }, schema.nullable ? "not set" : "choose"),
      choices.map((one) => h("option", { value: one, selected: one === value }, one)));
    select.addEventListener("change", () => {
      const chosen = choices.find((one) => String(one) === select.value);
      form.write(pointer, chosen === schema.fallback ? undefined : chosen);
    });
    return form.frame(select, { label, pointer, note: note(schema) });
  },

  boolean({ schema, pointer, form, label }) {
    const box = h("input", { type: "checkbox", checked: form.read(pointer) ?? schema.fallback ?? false });
    box.addEventListener("change", () => form.write(pointer, box.checked === (schema.fallback ?? false) ? undefined : box.checked));
    return form.frame(box, { label, pointer, note: note(schema), check: true });
  },

  object({ schema, pointer, form, label }) {
    const body = form.object(schema.solid, pointer);
    if (!schema.nullable) return form.group(label, { pointer, note: note(schema) }, body);
    const byDefault = schema.fallback !== undefined && schema.fallback !== null;
    const value = form.read(pointer);
    const on = value === undefined ? byDefault : value !== null;
    const box = h("input", { type: "checkbox", checked: on, "aria-label": `Set ${label}` });
    body.hidden = !on;
    box.addEventListener("change", () => {
      body.hidden = !box.checked;
      form.write(pointer, box.checked ? (byDefault ? undefined : {}) : byDefault ? null : undefined);
    });
    return form.group([label, " ", box], { pointer, note: note(schema) }, body);
  },

  /* One of several objects, told apart by a name. */
  union({ schema, pointer, form, label, titles = {} }) {
    const by = schema.discriminator;
    const inside = `${pointer}/${by}`;
    const first = form.read(inside) ?? schema.fallback?.[by];
    const body = h("div");
    const select = h("select", first === undefined && h("option", { value: "" }, "choose"),
      schema.members.map(([name]) => h("option", { value: name, selected: name === first }, titles[name] ?? words(name))));
    const show = (name) => {
      const member = schema.member(name);
      body.replaceChildren(...(member ? [h("p.note", described(member)), form.object(member, pointer, { except: [by] })] : []));
    };
    select.addEventListener("change", () => {
      form.write(pointer, { [by]: select.value });
      show(select.value);
      select.dispatchEvent(new CustomEvent("picked", { bubbles: true }));
    });
    // A field that is filled in belongs to the member that is seen.
    body.addEventListener("input", () => {
      if (form.read(pointer) && form.read(inside) === undefined) form.write(inside, select.value);
    });
    if (first !== undefined) show(first);
    select.setAttribute("aria-label", label);
    const group = form.group(label, { pointer, note: note(schema) }, select, body);
    form.places.set(inside, { control: select, wrong: form.places.get(pointer).wrong });
    return group;
  },

  /* A number or a ramp, a word or constants. */
  variants({ schema, pointer, form, label }) {
    const { options } = schema;
    const names = options.map((one) => (one.kind === "object" ? words(one.node.title ?? "object").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase() : one.kind === "enum" ? one.node.enum.join(" or ") : one.kind));
    const fits = (one, value) => (one.kind === "object" ? typeof value === "object" : typeof value !== "object");
    const value = form.read(pointer) ?? schema.fallback;
    let at = Math.max(0, options.findIndex((one) => fits(one, value)));
    const place = h("div.field");
    const show = () => {
      const one = options[at];
      const scalar = () => {
        const field = form.field(one.of({ ...one.node, description: schema.node.description, default: schema.fallback }), pointer, { label });
        field.querySelector("label").after(select);
        field.classList.add("kinds");
        return field;
      };
      place.replaceChildren(one.kind === "object"
        ? form.group([label, " ", select], { pointer, note: note(schema) }, form.object(one, pointer)) : scalar());
    };
    const select = h("select.kind", { "aria-label": `${label}: kind` }, names.map((name, index) => h("option", { value: index, selected: index === at }, name)));
    select.addEventListener("change", () => {
      at = Number(select.value);
      form.write(pointer, options[at].kind === "object" ? {} : undefined);
      show();
    });
    show();
    return place;
  },

  /* Several objects. */
  items({ schema, pointer, form, label }) {
    const { solid } = schema;
    const item = solid.of(solid.node.items);
    const holder = h("div");
    const paint = () => holder.replaceChildren(...(form.read(pointer) ?? []).map((value, index) => {
      const here = `${pointer}/${index}`;
      const by = item.discriminator;
      const body = form.object(by ? item.member(value[by]) : item, here, { except: [by] });
      return form.group([by ? value[by] : `${index + 1}`, " ", h("button.quiet", { type: "button", onclick: () => {
        form.write(here, undefined);
        paint();
      } }, "Remove")], { pointer: here }, body);
    }));
    const add = (value) => {
      form.write(pointer, [...(form.read(pointer) ?? []), value]);
      paint();
    };
    const buttons = item.discriminator
      ? item.members.map(([name]) => h("button", { type: "button", onclick: () => add({ [item.discriminator]: name }) }, `Add ${words(name)}`))
      : h("button", { type: "button", onclick: () => add({}) }, "Add one");
    paint();
    return form.group(label, { pointer, note: note(schema) }, holder, h("div.actions", buttons));
  },

  pairs({ schema, pointer, form, label }) {
    const input = h("input", { type: "text", spellcheck: "false", placeholder: "team:vision, owner:me",
      value: Object.entries(form.read(pointer) ?? {}).map((pair) => pair.join(":")).join(", ") });
    input.addEventListener("input", () => {
      const pairs = list(input.value).map((one) => [one.split(":")[0].trim(), one.split(":").slice(1).join(":").trim()]);
      form.write(pointer, pairs.length ? Object.fromEntries(pairs) : undefined);
    });
    return form.frame(input, { label, pointer, note: note(schema) });
  },

  file: ({ schema, pointer, form, label }) =>
    upload({ label, pointer, form, note: note(schema), take: (file) => form.write(pointer, file?.id) }),
};

function range({ minimum, maximum, exclusiveMinimum: over, exclusiveMaximum: below }) {
  if (over === 0 && (maximum ?? below) === undefined) return " (above 0)";
  const low = minimum ?? over;
  const high = maximum ?? below;
  return low !== undefined && high !== undefined && high <= 1 ? ` (${low} to ${high})` : "";
}

/** What a property says of itself, before what its type does. */
function note(schema) {
  const told = schema.node.description;
  return told && prose(told.replace(/\s*\n\s*/g, " "));
}

/** What a member of a union is: its lines are kept where there are formulas. */
function described(schema) {
  return prose((schema.node.description ?? "").split("\n\nTensors")[0]);
}
