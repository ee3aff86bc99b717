/** The audit of a job: from which state to which, when and why. */

import { get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { section, state, time } from "../lib/parts.js";

export function events(id, signal) {
  const list = h("ol.timeline");
  const more = h("button.quiet", { type: "button", hidden: true }, "Older ones");
  let cursor = null;
  more.addEventListener("click", async () => {
    const page = await get(`jobs/${id}/events?cursor=${encodeURIComponent(cursor)}`, { signal });
    list.append(...page.data.map(event));
    cursor = page.next_cursor;
    more.hidden = !cursor;
  });
  async function load() {
    const page = await get(`jobs/${id}/events`, { signal });
    list.replaceChildren(...page.data.map(event));
    cursor = page.next_cursor;
    more.hidden = !cursor;
  }
  return { element: section("Events", list, more), load: () => load().catch(() => {}) };
}

function event({ at, to_state: to, reason, attempt }) {
  return h("li", { "data-state": to }, state(to), " ", h("span.small", { title: format.exact(at) }, time(at)),
    h("div.small", reason, attempt > 1 && ` (attempt ${attempt})`));
}
