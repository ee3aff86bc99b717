/** The data sets. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { listed } from "../lib/list.js";
import { empty, state, time } from "../lib/parts.js";

const rows = (one) => Object.values(one.rows ?? {}).reduce((sum, some) => sum + some, 0) || null;

export default ({ signal }) =>
  listed({
    path: "datasets",
    title: "Data sets",
    lead: "What students learn from, and what they are reported on.",
    action: h("a.button", { href: "#/datasets/new" }, "Register a data set"),
    signal,
    columns: [
      ["Name", (one) => h("a", { href: `#/datasets/${one.id}` }, one.name)],
      ["State", (one) => state(one.state)],
      ["Examples", (one) => format.count(rows(one)), true],
      ["Classes", (one) => format.count(one.classes), true],
      ["Shape", (one) => one.feature_shape?.join(" × ") ?? format.NONE],
      ["Registered", (one) => time(one.created_at)],
    ],
    none: () => empty("No data set yet", h("p", "Upload npz, Parquet, CSV, JSONL or a ZIP of images; or begin with the built-in digits."),
      h("a.button.strong", { href: "#/datasets/new" }, "Register a data set")),
  });
