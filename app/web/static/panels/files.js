/** What a job has made, to download. */

import { get } from "../lib/api.js";
import { download } from "../lib/download.js";
import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { section, wide } from "../lib/parts.js";

export function files(id, signal) {
  const body = h("tbody");
  const table = wide("Files", h("table", h("caption.hidden", "Files of this job"),
    h("thead", h("tr", h("th", { scope: "col" }, "File"), h("th", { scope: "col" }, "Kind"), h("th.n", { scope: "col" }, "Size"))), body));
  const none = h("p.small", "Nothing yet. The student comes first, then its report.");
  const element = section("Files", none, table);
  table.hidden = true;
  async function load() {
    const { data } = await get(`jobs/${id}/artifacts`, { signal });
    none.hidden = data.length > 0;
    table.hidden = data.length === 0;
    body.replaceChildren(...data.map((one) => h(
      "tr",
      h("th", { scope: "row" }, download(one.url, one.name.replaceAll("/", "-"), one.name)),
      h("td.small", one.kind, one.facts.best ? ", the best" : ""),
      h("td.n", { title: `SHA-256 ${one.sha256}` }, format.bytes(one.size)),
    )));
  }
  return { element, load: () => load().catch(() => {}) };
}
