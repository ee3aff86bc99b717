/** One job, live: how far it is, its curves, and what came of it. */

import { get } from "../lib/api.js";
import { h, say } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { follow } from "../lib/live.js";
import { code, facts, heading, section, state, time } from "../lib/parts.js";
import { named } from "../lib/resource.js";
import { actions } from "../panels/actions.js";
import { curves } from "../panels/curves.js";
import { events } from "../panels/events.js";
import { files } from "../panels/files.js";
import { log } from "../panels/log.js";
import { now } from "../panels/now.js";
import { report } from "../panels/report.js";

export default async function job({ id, signal }) {
  let current = await get(`jobs/${id}`, { signal });
  const badge = h("span");
  const buttons = h("div.actions");
  const top = h("div");
  const progress = now(current);
  const parts = {
    curves: curves(id, signal),
    report: report(id, signal),
    files: files(id, signal),
    events: events(id, signal),
    log: log(id, signal),
  };

  function show(job) {
    const before = current;
    current = { ...current, ...job };
    progress.update(current);
    if (current.state === "succeeded") parts.report.load(current, top, progress.element);
    else if (!progress.element.isConnected) top.replaceChildren(progress.element);
    if (before.state !== current.state || !buttons.childElementCount) {
      badge.replaceChildren(state(current.state));
      buttons.replaceChildren(...actions(current, show));
      if (before !== current && before.state !== current.state) say(`The job is ${current.state}.`);
      parts.files.load();
      parts.events.load();
      document.title = `${current.name}: ${current.state} · Stillhouse`;
    }
    parts.log.load(current);
  }

  // What stands above other things is there before the page is shown: nothing moves then.
  const [seq] = await Promise.all([
    parts.curves.look(),
    current.state === "succeeded" && parts.report.load(current, top, progress.element),
  ]);
  show(current);
  watch().catch(() => {});

  async function watch() {
    if (current.is_terminal) return;
    const on = {
      job: show,
      points: (series) => parts.curves.take(series),
      stale: () => parts.curves.look().then(parts.curves.stale).catch(() => {}),
      transition(event) {
        parts.events.load();
        if (event?.kept_step !== undefined && event?.kept_step !== null) parts.curves.stale();
      },
      mode: (mode) => (badge.title = mode === "stream" ? "Live" : "Asked again each second"),
    };
    await follow(id, seq, on, signal);
    current = await get(`jobs/${id}`, { signal });
    show(current);
    await parts.curves.look();
    parts.curves.stale();
  }

  const spec = current.spec;
  const about = facts([
    ["Method", format.method(spec.method)],
    ["Student", format.network(spec.student?.network)],
    ["Data set", spec.dataset && named("datasets", spec.dataset, signal)],
    [spec.teachers?.length > 1 ? "Teachers" : "Teacher", spec.teachers?.length > 0 &&
      spec.teachers.map((one) => h("div", named("teachers", one, signal)))],
    ["Sweep", current.sweep && h("a", { href: `#/compare?sweep=${current.sweep}` }, "compare its jobs")],
    ["Submitted", time(current.created_at)],
    ["Labels", Object.keys(current.labels).length > 0 &&
      Object.entries(current.labels).map(([name, value]) => h("a.button.tag", { href: `#/jobs?label=${encodeURIComponent(`${name}:${value}`)}` }, `${name}:${value}`))],
  ]);
  return {
    title: current.name,
    element: h(
      "article.job",
      heading(current.name, badge),
      buttons,
      about,
      top,
      parts.report.sides,
      parts.curves.element,
      parts.report.details,
      h("div.pair", parts.events.element, parts.files.element),
      parts.log.element,
      section("Specification", h("p.small", "As asked for, with every default. ", h("code", id)),
        code(JSON.stringify(spec, null, 2), "specification")),
    ),
  };
}
