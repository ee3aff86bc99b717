/** A data set, registered: uploaded, from an address, or one that comes with the service. */

import { post } from "../lib/api.js";
import { catalogue } from "../lib/catalogue.js";
import { h } from "../lib/dom.js";
import { Form } from "../lib/form.js";
import { heading } from "../lib/parts.js";
import { upload } from "../lib/upload.js";
import { enrolment } from "../panels/enrolment.js";

export default async function register() {
  const { body } = await catalogue();
  const schema = body("/datasets");
  const several = (_, pointer, form) => upload({
    form, pointer, several: true, label: pointer.split("/").pop(),
    take: (made) => form.write(pointer, made?.map((one) => one.id)),
  });
  const form = new Form({
    value: { source: { kind: "file" } },
    onchange: () => side.show(),
    own: Object.fromEntries(["train", "validation", "test"].map((split) => [`/source/files/${split}`, several])),
  });
  const side = enrolment({ form, action: "Register the data set", async submit(once) {
    const made = await post("datasets", form.value, { once });
    location.hash = `#/datasets/${made.id}`;
  } });
  const first = ["name", "source"];
  const rest = schema.properties.map(([name]) => name).filter((name) => !first.includes(name));
  side.show();
  return {
    title: "Register a data set",
    element: h("div", heading("Register a data set"),
      h("p.lead", "npz, Parquet, CSV, JSONL or a ZIP of folders of images. A worker reads it once, checks it, and cuts the splits that it lacks."),
      h("form.compose", { onsubmit: (event) => event.preventDefault(), novalidate: true },
        h("div", form.object(schema, "", { only: first }),
          h("details", { open: true }, h("summary", "How it is read"), form.object(schema, "", { only: rest }))),
        side.element)),
  };
}
