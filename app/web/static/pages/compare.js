/** Several jobs beside each other: their curves, what differs in what was asked, and what came of it. */

import { everything, get, maybe, query as asked } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { repeat } from "../lib/live.js";
import * as format from "../lib/format.js";
import { empty, heading, problem, state } from "../lib/parts.js";
import { differences } from "../panels/differences.js";
import { heat } from "../panels/heat.js";
import { overlay } from "../panels/overlay.js";

const MOST = 64;
const EVERY_MS = 3000;

export default async function compare({ query, signal }) {
  const [sweep, recent, sweeps] = await Promise.all([
    query.get("sweep") && get(`sweeps/${query.get("sweep")}`, { signal }),
    everything("jobs", { signal, most: 200 }),
    everything("sweeps", { signal, most: 200 }),
  ]);
  const ids = [...new Set([...query.getAll("job"), ...(sweep?.results ?? []).map((one) => one.job)])].slice(0, MOST);
  const go = (jobs) => (location.hash = `#/compare${asked({ job: jobs })}`);
  const tools = h("div.tools", adding(recent, ids, go), sweeps.length > 0 && sweeping(sweeps, sweep?.id));
  if (!ids.length) {
    return {
      title: "Compare",
      element: h("div", heading("Compare"), tools,
        empty("Choose jobs to compare", h("p", "Add them here, or tick them in the list of jobs."), h("a.button", { href: "#/jobs" }, "To the list"))),
    };
  }
  const known = new Map(recent.map((job) => [job.id, job]));
  const found = await Promise.all(ids.map((id) => known.get(id) ?? maybe(`jobs/${id}`, { signal })));
  const there = found.filter(Boolean);
  const labels = apart(there);
  const jobs = there.map((job) => ({ job, label: labels.get(job.id), report: null }));
  const gone = ids.length - jobs.length;
  await Promise.all(jobs.map((one) => reported(one, signal)));

  const curves = overlay(jobs, signal);
  const table = h("div");
  const map = h("div");
  const paint = () => {
    table.replaceChildren(differences(jobs, (id) => go(ids.filter((one) => one !== id)), signal));
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
    element: h("div", heading(sweep ? sweep.name : "Compare", sweep && state(sweep.state)), tools, sweep && best(sweep),
      gone > 0 && problem({ message: `${gone} of the jobs ${gone > 1 ? "are" : "is"} not there any more.` }),
      map, table, curves.element),
  };
}

async function reported(one, signal) {
  if (one.job.state === "succeeded") one.report ??= await maybe(`jobs/${one.job.id}/report`, { signal });
}

function sweeping(sweeps, chosen) {
  const select = h("select", { "aria-label": "A sweep" }, h("option", { value: "" }, "A whole sweep …"),
    sweeps.map((one) => h("option", { value: one.id, selected: one.id === chosen }, `${one.name} · ${one.state}`)));
  select.addEventListener("change", () => select.value && (location.hash = `#/compare?sweep=${select.value}`));
  return h("span.choice", select);
}

/** Its best job is the one that validation chose, so that what it reached on the test split is fair. */
function best(sweep) {
  const { best: found, results } = sweep;
  if (!found) return null;
  const row = results.find((one) => one.job === found.job);
  return h("p.lead", "Best on validation: ", h("a", { href: `#/jobs/${found.job}` },
    Object.entries(found.parameters).map(([name, value]) => `${name.split(".").pop()} ${value}`).join(", ")),
    ` with ${format.percent(found.value)}`, row?.test_accuracy !== null && row ? `, ${format.percent(row.test_accuracy)} on the test split.` : ".");
}

/** A name for each job; those of one name tell when they were made, and of one moment which they are. */
function apart(jobs) {
  const alike = (spell) => {
    const all = jobs.map(spell);
    return (job) => all.filter((one) => one === spell(job)).length > 1;
  };
  const dated = (job) => `${job.name} · ${format.moment(job.created_at)}`;
  const [named, made] = [alike((job) => job.name), alike(dated)];
  return new Map(jobs.map((job) => [job.id, !named(job) ? job.name : made(job) ? `${job.name} · ${job.id}` : dated(job)]));
}

function adding(recent, ids, go) {
  const left = recent.filter((job) => !ids.includes(job.id));
  const labels = apart(left);
  const select = h("select", { "aria-label": "Add a job" }, h("option", { value: "" }, left.length ? "Add a job …" : "There is no other job"),
    left.map((job) => h("option", { value: job.id }, `${labels.get(job.id)} · ${job.state}`)));
  select.addEventListener("change", () => select.value && go([...ids, select.value]));
  return h("span.choice", select);
}
