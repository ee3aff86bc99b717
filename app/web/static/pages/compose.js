/** A job, composed: forms made of the API's own schemas, checked and estimated while they are filled. */

import { everything, get, post, unique } from "../lib/api.js";
import { catalogue, fitting, union } from "../lib/catalogue.js";
import { h, settled } from "../lib/dom.js";
import { fields } from "../lib/fields.js";
import { Form } from "../lib/form.js";
import { heading } from "../lib/parts.js";
import { pruned, words } from "../lib/schema.js";
import { ledger } from "../panels/ledger.js";
import { datasetField, teachersField } from "../panels/pickers.js";

/* The form's parts, in this order; a property that is not here stands at the end. */
const PARTS = [
  ["What is taught", ["name", "dataset", "teachers", "method"]],
  ["The student", ["student"]],
  ["Training", ["training"]],
  ["Comparison", ["baseline", "select"]],
  ["Order", ["labels", "priority", "max_runtime_s"]],
];

export default async function compose({ query, signal }) {
  const [{ methods, networks, body }, datasets, teachers, origin] = await Promise.all([
    catalogue(),
    everything("datasets", { signal }),
    everything("teachers", { signal }),
    query.get("from") && get(`jobs/${query.get("from")}`, { signal }),
  ]);
  const schema = body("/jobs");
  const families = union(networks, "family");
  const named = union(methods, "name", schema.node.properties.method.default);
  const titles = Object.fromEntries(methods.map((one) => [one.name, `${one.title} (${one.name})`]));

  const form = new Form({
    value: origin ? { ...pruned(schema, origin.spec), name: `${origin.name} again` } : started(query, teachers, datasets),
    onchange: () => changed(),
    own: {
      "/dataset": (_, pointer) => datasetField(form, pointer, datasets, fit),
      "/teachers": (_, pointer) => teachersField(form, pointer, teachers),
      "/method": (_, pointer) => {
        const field = fields.union({ schema: named, pointer, form, label: "method", titles });
        return h("div.full", field, paper);
      },
      "/student/network": (_, pointer) => {
        const field = fields.union({ schema: families, pointer, form, label: "network" });
        field.addEventListener("picked", fit);
        return field;
      },
    },
  });
  const paper = h("p.note");
  const side = ledger({ form, submit });
  let once = unique();
  let asking = new AbortController();

  /** The network's shape is the data's, until somebody says otherwise. */
  function fit() {
    const dataset = datasets.find((one) => one.id === form.read("/dataset"));
    const family = form.read("/student/network/family");
    if (dataset?.state !== "ready" || !family) return;
    for (const [name, value] of Object.entries(fitting(families.member(family), dataset))) {
      const pointer = `/student/network/${name}`;
      if (form.touched.has(pointer)) continue;
      form.write(pointer, value, { quiet: true });
      const place = form.places.get(pointer);
      if (place) place.control.value = Array.isArray(value) ? value.join(", ") : value;
    }
    changed();
  }

  function changed() {
    const method = methods.find((one) => one.name === (form.read("/method/name") ?? named.fallback?.name));
    const { min, max } = method?.teachers ?? {};
    const most = max === null ? "or more" : max === min ? "" : `to ${max}`;
    paper.textContent = method ? `Takes ${min} ${most} ${max === 1 ? "teacher" : "teachers"}.`.replace("  ", " ") + (method.paper ? ` ${method.paper}.` : "") : "";
    side.show(form.value);
    check();
  }

  const check = settled(async () => {
    asking.abort();
    asking = new AbortController();
    const asked = asking;
    once = unique();
    try {
      const found = await post("jobs?validate_only=true", form.value, { signal: AbortSignal.any([signal, asked.signal]) });
      form.complain([]);
      side.good(found);
    } catch (error) {
      if (error.name !== "AbortError" && !asked.signal.aborted) side.bad(error);
    }
  }, 250);

  async function submit() {
    const made = await post("jobs", form.value, { once });
    location.hash = `#/jobs/${made.id}`;
  }

  const placed = new Set(PARTS.flatMap(([, names]) => names));
  const rest = schema.properties.map(([name]) => name).filter((name) => !placed.has(name));
  const parts = [...PARTS, ["More", rest]].filter(([, names]) => names.length).map(([title, names], index) => {
    const content = names.length === 1 && names[0] !== "transfer" && schema.properties.find(([name]) => name === names[0])[1].solid.kind === "object"
      ? form.object(schema.properties.find(([name]) => name === names[0])[1].solid, `/${names[0]}`)
      : ordered(form, schema, names);
    return h("fieldset.part", h("legend", title), index < 3 ? content : h("details", h("summary", `${names.map(words).join(", ")}: the defaults are fine`), content));
  });
  const element = h(
    "div",
    heading(origin ? "Change and submit again" : "New job"),
    h("p.lead", "What is left empty takes the default that is shown."),
    h("form.compose", { onsubmit: (event) => event.preventDefault(), novalidate: true }, h("div", parts), side.element),
  );
  signal.addEventListener("abort", () => asking.abort());
  fit();
  changed();
  return { title: "New job", element };
}

/** Fields in the order of their names here, not of the schema. */
function ordered(form, schema, names) {
  const properties = Object.fromEntries(schema.properties);
  return h("div.fields", names.filter((name) => properties[name]).map((name) =>
    form.object({ node: schema.node, properties: [[name, properties[name]]] }, "")).flatMap((one) => [...one.children]));
}

function started(query, teachers, datasets) {
  const ready = (list) => list.filter((one) => one.state === "ready");
  const value = { student: { network: { family: "mlp" } } };
  const dataset = query.get("dataset") ?? (ready(datasets).length === 1 ? ready(datasets)[0].id : null);
  if (dataset) value.dataset = dataset;
  if (query.get("method")) value.method = { name: query.get("method") };
  const teacher = query.get("teacher") ?? (ready(teachers).length === 1 && !query.get("method") ? ready(teachers)[0].id : null);
  if (teacher) value.teachers = [teacher];
  return value;
}
