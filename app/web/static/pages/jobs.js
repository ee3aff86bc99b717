/** The jobs, newest first, as they are now. */

import { everything, get, query as asked } from "../lib/api.js";
import { fresh, h, keyed, settled, text } from "../lib/dom.js";
import { repeat } from "../lib/live.js";
import { empty, ENDED, heading, STATES, toggle } from "../lib/parts.js";
import { row } from "../panels/row.js";
import { welcome } from "../panels/welcome.js";

const PAGE = 50;
const EVERY_MS = 2000;
const ACTIVE = STATES.filter((state) => !ENDED.includes(state));
const CHOICES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"];

export default async function jobs({ query, signal }) {
  const filters = {
    state: query.getAll("state"),
    label: query.getAll("label"),
    name: query.get("name") ?? "",
  };
  const chosen = new Set();
  let known = new Map();
  let cursor = null;
  let loading = null;

  const list = h("ol.jobs", { "aria-label": "Jobs, newest first" });
  const more = h("button", { type: "button", onclick: () => next(), hidden: true }, "Show more");
  const count = h("p.count", { role: "status" });
  const foot = h("div.more", more, count);
  const place = h("div", list, foot);
  const tray = h("div.tray", { hidden: true });

  const compared = (id, on) => {
    chosen[on ? "add" : "delete"](id);
    tray.hidden = chosen.size === 0;
    tray.replaceChildren(
      h("span", `${chosen.size} chosen`),
      h("a.button.strong", { href: `#/compare${asked({ job: [...chosen] })}` }, "Compare"),
    );
  };
  const labelled = (label) => narrow({ label: [...new Set([...filters.label, label])] });

  function paint() {
    const order = [...known.values()].sort(newestFirst);
    keyed(list, order, (job) => job.id, (job) => row(job, { compared, labelled, signal }));
    more.hidden = !cursor;
    text(count, order.length ? `${order.length}${cursor ? " and more" : ""} ${order.length === 1 ? "job" : "jobs"}` : "");
    if (order.length) {
      if (list.parentElement !== place) place.replaceChildren(list, foot);
    } else if (!place.querySelector(filtered() ? ".empty" : ".welcome")) place.replaceChildren(nothing());
  }

  const filtered = () => filters.state.length > 0 || filters.label.length > 0 || filters.name !== "";
  const nothing = () =>
    filtered()
      ? empty("No job is like that", h("p", "Nothing that this service remembers fits the filters."),
          h("button", { type: "button", onclick: () => narrow({ state: [], label: [], name: "" }) }, "Show all jobs"))
      : welcome(signal);

  /** One more page; an answer to filters that are no more is left alone. */
  async function next() {
    if (loading === known) return;
    const mine = (loading = known);
    try {
      const page = await get(`jobs${asked({ ...filters, limit: PAGE, cursor })}`, { signal });
      if (mine !== known) return;
      for (const job of page.data) known.set(job.id, job);
      cursor = page.next_cursor;
      paint();
    } finally {
      if (loading === mine) loading = null;
    }
    // It tells of changes only: whoever is at the end already would wait there for ever.
    eye.unobserve(foot);
    eye.observe(foot);
  }

  /** The newest, and those that have not ended: nothing else can have changed. */
  async function refresh() {
    const mine = known;
    const page = await get(`jobs${asked({ ...filters, limit: PAGE })}`, { signal });
    if (mine !== known || loading) return;
    const newest = new Set(page.data.map((job) => job.id));
    const oldest = page.next_cursor ? page.data.at(-1) : null;
    const waiting = [];
    for (const job of known.values()) {
      if (newest.has(job.id)) continue;
      if (!oldest || newestFirst(job, oldest) < 0) known.delete(job.id); // deleted, or not of these states any more
      else if (!job.is_terminal) waiting.push(job.id);
    }
    for (const job of page.data) known.set(job.id, job);
    if (waiting.length) await renew(waiting, mine);
    if (mine === known) paint();
  }

  async function renew(waiting, mine) {
    const wanted = filters.state.length ? filters.state.filter((one) => ACTIVE.includes(one)) : ACTIVE;
    const found = wanted.length ? await everything(`jobs${asked({ ...filters, state: wanted })}`, { signal }) : [];
    const active = new Map(found.map((job) => [job.id, job]));
    for (const id of waiting) {
      const job = active.get(id) ?? (await get(`jobs/${id}`, { signal }).catch(() => null));
      if (job && (!filters.state.length || filters.state.includes(job.state))) mine.set(id, job);
      else mine.delete(id);
    }
  }

  /** Filters are in the address: a list can be kept and sent. */
  function narrow(change) {
    Object.assign(filters, change);
    history.replaceState(null, "", `#/jobs${asked(filters)}`);
    tools.show();
    known = new Map();
    cursor = null;
    next().catch(() => {});
  }

  const tools = filtering(filters, narrow);
  const eye = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && cursor && next().catch(() => {}), { rootMargin: "600px" });
  eye.observe(foot);
  signal.addEventListener("abort", () => eye.disconnect());
  await next();
  repeat(refresh, EVERY_MS, signal);
  return { title: "Jobs", element: h("div", heading("Jobs"), tools.element, place, tray) };
}

/* As the API has them, to the microsecond: a sweep makes many jobs in one millisecond, which is all that
 * a Date knows. The fraction is left out where it is 0. */
const moment = ({ created_at: at }) => (at.includes(".") ? at : at.replace("Z", ".000000Z"));
const newestFirst = (a, b) => {
  const [one, other] = [moment(a) + a.id, moment(b) + b.id];
  return one < other ? 1 : one > other ? -1 : 0;
};

function filtering(filters, narrow) {
  const nameId = fresh("name");
  const labelId = fresh("label");
  const search = h("input", { id: nameId, type: "search", placeholder: "part of a name" });
  search.addEventListener("input", settled(() => narrow({ name: search.value }), 250));
  const label = h("input", { id: labelId, type: "search", placeholder: "team:vision", pattern: "[^:]+:[^:]*" });
  const add = (event) => {
    event.preventDefault();
    if (!label.value || !label.checkValidity()) return;
    narrow({ label: [...new Set([...filters.label, label.value])] });
    label.value = "";
  };
  const states = CHOICES.map((state) => toggle(state, false, (on) =>
    narrow({ state: on ? [...filters.state, state] : filters.state.filter((one) => one !== state) })));
  const tags = h("span.group");
  function show() {
    if (search.value !== filters.name) search.value = filters.name;
    states.forEach((button, at) => button.setAttribute("aria-pressed", String(filters.state.includes(CHOICES[at]))));
    tags.replaceChildren(...filters.label.map((one) => h("button.tag", {
      type: "button", "aria-label": `Without the label ${one}`,
      onclick: () => narrow({ label: filters.label.filter((other) => other !== one) }),
    }, one, " ×")));
  }
  show();
  return {
    show,
    element: h(
      "search.tools",
      { "aria-label": "Filters" },
      h("span.choice", h("label", { for: nameId }, "Name"), search),
      h("form.choice", { onsubmit: add }, h("label", { for: labelId }, "Label"), label),
      h("div.group", { role: "group", "aria-label": "States" }, states),
      tags,
    ),
  };
}
