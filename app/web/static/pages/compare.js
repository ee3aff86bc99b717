/** Several jobs beside each other: their curves, what differs in what was asked, and what came of it. */

import { everything, get, maybe, query as asked } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { repeat } from "../lib/live.js";
import { empty, heading, problem } from "../lib/parts.js";
import { differences } from "../panels/differences.js";
import { heat } from "../panels/heat.js";
import { overlay } from "../panels/overlay.js";

const MOST = 64;
const EVERY_MS = 3000;

export default async function compare({ query, signal }) {
  const sweep = query.get("sweep");
  const ids = [...new Set([...query.getAll("job"), ...(sweep ? await members(sweep, signal) : [])])].slice(0, MOST);
  const recent = await everything("jobs", { signal, most: 200 });
  const go = (jobs) => (location.hash = `#/compare${asked({ job: jobs })}`);
  const tools = h("div.tools", adding(recent, ids, go));
  if (!ids.length) {
    return {
      title: "Compare",
      element: h("div", heading("Compare"), tools,
        empty("Choose jobs to compare", h("p", "Add them here, or tick them in the list of jobs."), h("a.button", { href: "#/jobs" }, "To the list"))),
    };
  }
  const known = new Map(recent.map((job) => [job.id, job]));
  const found = await Promise.all(ids.map((id) => known.get(id) ?? maybe(`jobs/${id}`, { signal })));
  const jobs = found.filter(Boolean).map((job) => ({ job, report: null }));
  const gone = ids.length - jobs.length;
  await Promise.all(jobs.map((one) => reported(one, signal)));

  const curves = overlay(jobs, signal);
  const table = h("div");
  const map = h("div");
  const paint = () => {
    table.replaceChildren(differences(jobs, (id) => go(ids.filter((one) => one !== id))));
    map.replaceChildren(heat(jobs) ?? "");
  };
  paint();
  repeat(async () => {
    const live = jobs.filter(({ job }) => !job.is_terminal);
    for (const one of live) {
      one.job = await get(`jobs/${one.job.id}`, { signal });
      await reported(one, signal);
    }
    if (!live.length) return;
    paint();
    curves.refresh();
  }, EVERY_MS, signal);
  return {
    title: "Compare",
    element: h("div", heading(sweep ? "Compare a sweep" : "Compare"), tools,
      gone > 0 && problem({ message: `${gone} of the jobs ${gone > 1 ? "are" : "is"} not there any more.` }),
      map, table, curves.element),
  };
}

async function reported(one, signal) {
  if (one.job.state === "succeeded") one.report ??= await maybe(`jobs/${one.job.id}/report`, { signal });
}

/** The ids of a sweep's jobs. */
async function members(sweep, signal) {
  const { jobs } = await get(`sweeps/${sweep}`, { signal });
  return jobs.map((one) => (typeof one === "string" ? one : one.id ?? one.job));
}

function adding(recent, ids, go) {
  const left = recent.filter((job) => !ids.includes(job.id));
  const select = h("select", { "aria-label": "Add a job" }, h("option", { value: "" }, left.length ? "Add a job …" : "There is no other job"),
    left.map((job) => h("option", { value: job.id }, `${job.name} · ${job.state}`)));
  select.addEventListener("change", () => select.value && go([...ids, select.value]));
  return h("span.choice", select);
}
