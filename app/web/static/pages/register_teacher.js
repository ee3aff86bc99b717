/** A teacher, registered: a checkpoint with its network, or the student of a job. */

import { everything, post } from "../lib/api.js";
import { catalogue, union } from "../lib/catalogue.js";
import { h } from "../lib/dom.js";
import { fields } from "../lib/fields.js";
import { Form } from "../lib/form.js";
import { heading } from "../lib/parts.js";
import { enrolment } from "../panels/enrolment.js";

export default async function register({ query, signal }) {
  const [{ networks, body }, jobs] = await Promise.all([
    catalogue(),
    everything("jobs?state=succeeded", { signal, most: 200 }),
  ]);
  const schema = body("/teachers");
  const families = union(networks, "family");
  const job = query.get("job");
  const form = new Form({
    value: job ? { job, name: jobs.find((one) => one.id === job)?.name } : {},
    onchange: () => side.show(),
    own: {
      "/network": (_, pointer) => fields.union({ schema: families, pointer, form, label: "network" }),
      "/job": (_, pointer) => {
        const select = h("select", h("option", { value: "" }, jobs.length ? "choose" : "no job has succeeded yet"),
          jobs.map((one) => h("option", { value: one.id, selected: one.id === form.read(pointer) }, one.name)));
        select.addEventListener("change", () => form.write(pointer, select.value || undefined));
        return form.frame(select, { label: "job", pointer, full: true });
      },
    },
  });
  const side = enrolment({ form, action: "Register the teacher", async submit(once) {
    const made = await post("teachers", form.value, { once });
    location.hash = `#/teachers/${made.id}`;
  } });

  const kinds = { job: ["The student of a job", ["name", "job"]], file: ["A checkpoint of my own", ["name", "file", "network"]] };
  const place = h("div");
  const pick = (kind) => {
    const { name } = form.value;
    form.value = kind === "job" ? { ...form.value, file: undefined, network: undefined } : { ...(name ? { name } : {}), network: { family: "mlp" } };
    form.places.clear();
    const [, names] = kinds[kind];
    const rest = schema.properties.map(([one]) => one).filter((one) => !["name", "job", "file", "network"].includes(one));
    place.replaceChildren(
      form.object(schema, "", { only: names }),
      h("details", h("summary", "Input and classes"), form.object(schema, "", { only: rest })),
    );
    side.show();
  };
  const start = query.get("from") === "job" || job ? "job" : "file";
  const radios = Object.entries(kinds).map(([kind, [label]]) => h("label",
    h("input", { type: "radio", name: "kind", value: kind, checked: kind === start, onchange: () => pick(kind) }), label));
  pick(start);
  return {
    title: "Register a teacher",
    element: h("div", heading("Register a teacher"),
      h("p.lead", "Tensors travel as safetensors, never as pickles: nothing that is uploaded is run."),
      h("form.compose", { onsubmit: (event) => event.preventDefault(), novalidate: true },
        h("div", h("fieldset.part", h("legend", "Where it comes from"), h("div.options", radios)), place), side.element)),
  };
}
