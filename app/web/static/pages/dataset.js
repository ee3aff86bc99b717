/** One data set: what is in it. */

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { code, facts, section, time, wide } from "../lib/parts.js";
import { resource } from "../lib/resource.js";
import { recorded } from "../panels/darkness.js";

const MOST_CLASSES = 100;

export default ({ id, signal }) =>
  resource({
    path: `datasets/${id}`,
    home: "#/datasets",
    what: "data set",
    signal,
    actions: () => [h("a.button.strong", { href: `#/new?dataset=${id}` }, "Use it in a job")],
    body: (one) => [
      facts([
        ...Object.entries(one.rows ?? {}).map(([split, rows]) => [
          `${split[0].toUpperCase()}${split.slice(1)}`, `${format.count(rows)}${one.cut?.includes(split) ? ", cut by seed" : ""}`]),
        ["Classes", one.classes],
        ["Shape", one.feature_shape?.join(" × ")],
        ["Stored as", one.feature_dtype],
        ["Labels", one.labelled === false ? "none" : null],
        ["Teacher of its own", one.teacher_outputs],
        ["Licence", one.license],
        ["Size", one.bytes && format.bytes(one.bytes)],
        ["Registered", time(one.created_at)],
        ["SHA-256", one.sha256 && h("code", { title: one.sha256 }, `${one.sha256.slice(0, 12)}…`)],
      ]),
      one.preview?.length > 0 && section("Some of it", preview(one)),
      one.class_balance && balance(one),
      section("As it was registered", code(JSON.stringify({ ...one.spec, preprocess: one.preprocess }, null, 2), "specification")),
      one.state === "ready" && one.teacher_outputs && recorded(one, signal),
    ].filter(Boolean),
  });

const name = (one, label) => one.class_names?.[label] ?? String(label);

function preview(one) {
  const images = one.preview.filter((row) => row.image);
  if (images.length) {
    return h("ul.thumbs", images.map((row) => h("li",
      h("img", { src: row.image, alt: row.label === null ? "an example" : `an example of ${name(one, row.label)}`, width: 56, height: 56 }),
      row.label !== null && row.label !== undefined && name(one, row.label))));
  }
  const values = Math.max(...one.preview.map((row) => row.values?.length ?? 0));
  return wide("Examples", h("table", h("caption.hidden", "Examples"),
    h("thead", h("tr", h("th", { scope: "col" }, "Label"), Array.from({ length: values }, (_, at) => h("th.n", { scope: "col" }, at)))),
    h("tbody", one.preview.map((row) => h("tr", h("th", { scope: "row" }, row.label === null ? format.NONE : name(one, row.label)),
      (row.values ?? []).map((value) => h("td.n", format.number(value, 3))))))));
}

/** How many of each class, by split: a bar for train, numbers for all. */
function balance(one) {
  const splits = Object.keys(one.class_balance);
  const classes = one.class_balance[splits[0]].length;
  const most = Math.max(...one.class_balance[splits[0]]);
  const rows = Array.from({ length: Math.min(classes, MOST_CLASSES) }, (_, at) => h("tr",
    h("th", { scope: "row" }, name(one, at)),
    h("td.share", h("i.bar", { style: { "--done": String(one.class_balance[splits[0]][at] / most) } })),
    splits.map((split) => h("td.n", format.count(one.class_balance[split][at])))));
  return section("Classes", classes > MOST_CLASSES && h("p.small", `The first ${MOST_CLASSES} of ${format.count(classes)}.`),
    wide("Classes", h("table", h("caption.hidden", "Examples of each class"),
      h("thead", h("tr", h("th", { scope: "col" }, "Class"), h("th", { scope: "col" }, `Share of ${splits[0]}`), splits.map((split) => h("th.n", { scope: "col" }, split)))),
      h("tbody", rows))));
}
