/** The trainer's own log; hidden while it is empty. */

import { ask } from "../lib/api.js";
import { download } from "../lib/download.js";
import { h } from "../lib/dom.js";
import { section } from "../lib/parts.js";

const EVERY_MS = 3000;
const LINES = 1000;

export function log(id, signal) {
  const body = h("pre.log", { tabindex: "0", role: "group", "aria-label": "The trainer's log" });
  const element = section("Log", body, h("p.links", download(`jobs/${id}/logs`, `${id}.log`, "All that is kept")));
  element.hidden = true;
  let etag = null;
  let asked = 0;
  let ended = false;

  /** Called whenever the job is heard of. */
  async function load(job) {
    if (ended || (performance.now() - asked < EVERY_MS && !job.is_terminal && asked)) return;
    asked = performance.now();
    ended = job.is_terminal;
    const response = await ask(`jobs/${id}/logs?tail=${LINES}`, { signal, headers: etag ? { "If-None-Match": etag } : {} });
    if (!response.ok) {
      if (response.status === 404) ended = true;
      return;
    }
    etag = response.headers.get("etag");
    const told = await response.text();
    if (!told) return;
    const below = body.scrollTop + body.clientHeight >= body.scrollHeight - 30;
    body.textContent = told;
    element.hidden = false;
    if (below) body.scrollTop = body.scrollHeight;
  }
  return { element, load: (job) => load(job).catch(() => {}) };
}
