/** A page with a table of resources, by cursors, asked again while some are being checked. */

import { get, query } from "./api.js";
import { h } from "./dom.js";
import { repeat } from "./live.js";
import { heading, wide } from "./parts.js";

const EVERY_MS = 2000;

/** columns: [[title, (item) => content, number?], ...] */
export async function listed({ path, title, lead, action, columns, none, signal }) {
  const body = h("tbody");
  const place = h("div");
  const table = wide(title, h("table.listed", h("caption.hidden", title),
    h("thead", h("tr", columns.map(([name, , n]) => h(n ? "th.n" : "th", { scope: "col" }, name)))), body));
  const more = h("button", { type: "button", hidden: true }, "Show more");
  let items = [];
  let cursor = null;

  function paint() {
    body.replaceChildren(...items.map((item) => h("tr", columns.map(([, content, n], at) =>
      at ? h(n ? "td.n" : "td", content(item)) : h("th", { scope: "row" }, content(item))))));
    more.hidden = !cursor;
    place.replaceChildren(items.length ? table : none());
  }
  async function next() {
    const page = await get(path + query({ limit: 100, cursor }), { signal });
    items.push(...page.data);
    cursor = page.next_cursor;
    paint();
  }
  more.addEventListener("click", next);
  await next();
  repeat(async () => {
    if (!items.some((item) => item.state === "checking")) return;
    const page = await get(path + query({ limit: 100 }), { signal });
    const now = new Map(page.data.map((item) => [item.id, item]));
    items = items.map((item) => now.get(item.id) ?? item);
    paint();
  }, EVERY_MS, signal);
  return { title, element: h("div", heading(title, action), h("p.lead", lead), place, h("div.more", more)) };
}
