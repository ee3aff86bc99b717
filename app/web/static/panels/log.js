/** The trainer's own log; hidden where the service has none. */

import { ask } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { section } from "../lib/parts.js";

const EVERY_MS = 3000;
const SHOWN = 200_000;

export function log(id, signal) {
  const body = h("pre.log", { tabindex: "0", role: "group", "aria-label": "The trainer's log" });
  const element = section("Log", body);
  element.hidden = true;
  let etag = null;
  let asked = 0;
  let ended = false;

  /** Called whenever the job is heard of. */
  async function load(job) {
    if (ended || (performance.now() - asked < EVERY_MS && !job.is_terminal && asked)) return;
    asked = performance.now();
    ended = job.is_terminal;
    const response = await ask(`jobs/${id}/logs`, { signal, headers: etag ? { "If-None-Match": etag } : {} });
    if (!response.ok) {
      if (response.status === 404) ended = true;
      return;
    }
    etag = response.headers.get("etag");
    const told = await response.text();
    if (!told) return;
    const below = body.scrollTop + body.clientHeight >= body.scrollHeight - 30;
    body.textContent = told.length > SHOWN ? `…\n${told.slice(-SHOWN)}` : told;
    element.hidden = false;
    if (below) body.scrollTop = body.scrollHeight;
  }
  return { element, load: (job) => load(job).catch(() => {}) };
}
