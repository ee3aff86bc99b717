/** A job in a list. */

import { maybe } from "../lib/api.js";
import { h, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { time } from "../lib/parts.js";
import { mark } from "./verdict.js";

const AT_ONCE = 4;

/** { element, update }, as `keyed` wants it. */
export function row(job, { compared, labelled, signal }) {
  const box = h("input", { type: "checkbox", "aria-label": `Compare ${job.name}`, onchange: () => compared(job.id, box.checked) });
  const state = h("span.state");
  const doing = h("span.doing");
  const bar = h("i.bar");
  const result = h("span.result");
  const element = h(
    "li",
    h("span.pick", box),
    h("span.name", h("a", { href: `#/jobs/${job.id}` }, job.name),
      h("span.about", `${format.method(job.spec.method)} · ${format.network(job.spec.student?.network)}`)),
    h("span.labels", Object.entries(job.labels).map(([name, value]) =>
      h("button.tag", { type: "button", title: "Only jobs with this label", onclick: () => labelled(`${name}:${value}`) }, `${name}:${value}`))),
    h("span.now", state, doing, bar),
    result,
    h("span.when", time(job.created_at)),
  );
  let shown = "";

  function update(now) {
    const key = `${now.state} ${now.phase} ${JSON.stringify(now.progress)}`;
    if (key === shown) return;
    shown = key;
    state.dataset.state = now.state;
    text(state, now.state);
    const live = !now.is_terminal && now.progress?.fraction !== undefined;
    bar.style.setProperty("--done", live ? now.progress.fraction : 0);
    bar.hidden = !live;
    text(doing, live && now.state === "running" ? progress(now) : ended(now));
    if (now.state === "succeeded" && now.id && !result.childElementCount) report(now.id, result, signal);
  }

  update(job);
  return { element, update };
}

function progress({ progress: { epoch, epochs, eta_s: left } }) {
  const where = epochs ? `epoch ${format.epochs({ epoch, epochs })}` : "";
  return left === null || left === undefined ? where : `${where}, ${format.duration(left)} left`;
}

function ended({ error, state, started_at: from, finished_at: to }) {
  if (error) return error.code.replaceAll("_", " ");
  return state === "succeeded" && from && to ? `in ${format.duration((new Date(to) - new Date(from)) / 1000)}` : "";
}

/* Reports are asked for where a row is seen, a few at a time: a thousand rows cost nothing. */
const queue = [];
let running = 0;

function report(id, place, signal) {
  const eye = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    eye.disconnect();
    queue.push(async () => {
      const found = await maybe(`jobs/${id}/report`, { signal });
      if (found) place.replaceChildren(mark(found));
    });
    work();
  });
  eye.observe(place);
  signal.addEventListener("abort", () => eye.disconnect());
}

async function work() {
  if (running >= AT_ONCE) return;
  running += 1;
  while (queue.length) await queue.shift()().catch(() => {});
  running -= 1;
}
