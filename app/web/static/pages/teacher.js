/** One teacher, and what it knows beside the right answers. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { code, facts, section, time } from "../lib/parts.js";
import { resource } from "../lib/resource.js";
import { darkness } from "../panels/darkness.js";

export default ({ id, signal }) =>
  resource({
    path: `teachers/${id}`,
    home: "#/teachers",
    what: "teacher",
    signal,
    actions: () => [h("a.button.strong", { href: `#/new?teacher=${id}` }, "Distil it")],
    body: (one) => [
      facts([
        ["Network", format.network(one.network)],
        ["Parameters", format.count(one.parameters)],
        ["Work for an example", format.rough(one.flops, "FLOP")],
        ["Comes from", one.job ? h("a", { href: `#/jobs/${one.job}` }, "a job") : "a checkpoint"],
        ["Registered", time(one.created_at)],
        ["SHA-256", one.sha256 && h("code", { title: one.sha256 }, `${one.sha256.slice(0, 12)}…`)],
      ]),
      one.taps?.length > 0 && section("Inner layers", h("p.small", "Methods on features may name these."), h("p", one.taps.map((tap) => [h("code", tap), " "]))),
      section("As it was registered", h("details", h("summary", "Network and preprocessing"), code(JSON.stringify({ network: one.network, preprocess: one.preprocess, class_names: one.class_names }, null, 2), "specification"))),
      one.state === "ready" && darkness(one, signal), // the last one: it grows when it is there
    ].filter(Boolean),
  });
