/** The teachers. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { listed } from "../lib/list.js";
import { empty, state, time } from "../lib/parts.js";

export default ({ signal }) =>
  listed({
    path: "teachers",
    title: "Teachers",
    lead: "Networks that know something. A student learns from what they answer.",
    action: h("a.button", { href: "#/teachers/new" }, "Register a teacher"),
    signal,
    columns: [
      ["Name", (one) => h("a", { href: `#/teachers/${one.id}` }, one.name)],
      ["State", (one) => state(one.state)],
      ["Network", (one) => format.network(one.network)],
      ["Parameters", (one) => format.count(one.parameters), true],
      ["Comes from", (one) => (one.job ? h("a", { href: `#/jobs/${one.job}` }, "a job") : "a checkpoint")],
      ["Registered", (one) => time(one.created_at)],
    ],
    none: () => empty("No teacher yet", h("p", "Upload a safetensors checkpoint with its architecture, or train one here with the method “supervised” and register its student."),
      h("div.actions", h("a.button.strong", { href: "#/teachers/new" }, "Register a teacher"), h("a.button", { href: "#/new?method=supervised" }, "Train one"))),
  });
