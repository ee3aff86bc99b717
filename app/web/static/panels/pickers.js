/** Fields that choose among what is registered. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { apart } from "../lib/parts.js";

export function datasetField(form, pointer, datasets, picked) {
  const ready = datasets.filter((one) => one.state === "ready");
  const more = apart(ready);
  const told = (one) => `${one.name} · ${Object.entries(one.rows ?? {}).map(([split, rows]) => `${split} ${format.count(rows)}`).join(", ")} · ${one.classes ?? "no"} classes${more(one)}`;
  const select = h("select", { required: true }, h("option", { value: "" }, ready.length ? "choose" : "there is none yet"),
    ready.map((one) => h("option", { value: one.id, selected: one.id === form.read(pointer) }, told(one))));
  select.addEventListener("change", () => {
    form.write(pointer, select.value || undefined);
    picked();
  });
  return form.frame(select, { label: "data set", pointer, full: true,
    note: h("a", { href: "#/datasets/new" }, "Register another") });
}

export function teachersField(form, pointer, teachers) {
  const ready = teachers.filter((one) => one.state === "ready");
  const more = apart(ready);
  const chosen = new Set(form.read(pointer) ?? []);
  const boxes = ready.map((one) => {
    const box = h("input", { type: "checkbox", checked: chosen.has(one.id) });
    box.addEventListener("change", () => {
      chosen[box.checked ? "add" : "delete"](one.id);
      form.write(pointer, chosen.size ? [...chosen] : undefined);
    });
    return h("label", box, h("span", one.name, " ", h("span.small", `${format.network(one.network)}, ${format.rough(one.parameters)} parameters${more(one)}`)));
  });
  const group = form.group("teachers", { pointer }, h("div.options", boxes.length ? boxes : h("p.note", "There is none yet.")),
    h("p.note", h("a", { href: "#/teachers/new" }, "Register another")));
  group.classList.add("full");
  return group;
}
