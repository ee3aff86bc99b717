/** What can be done with a job in the state that it is in. */

import { post, remove, unique } from "../lib/api.js";
import { confirm } from "../lib/dialog.js";
import { h } from "../lib/dom.js";
import { ENDED } from "../lib/parts.js";

const ASKED = {
  pause: {
    states: ["queued", "running"],
    title: "Pause this job?",
    detail: "It writes a checkpoint first, and later goes on to the very same student.",
    action: "Pause",
  },
  resume: {
    states: ["paused", "pausing"],
    title: "Resume this job?",
    detail: "It is queued again, and goes on from its checkpoint.",
    action: "Resume",
  },
  cancel: {
    states: ["queued", "running", "paused", "pausing"],
    title: "Cancel this job?",
    detail: "It ends for good. Its last checkpoint stays among the files, and a clone may go on from it.",
    action: "Cancel the job",
    danger: true,
  },
};

/** `done(job)` is called with what the API made of it. */
export function actions(job, done) {
  const steering = Object.entries(ASKED)
    .filter(([, one]) => one.states.includes(job.state))
    .map(([verb, one]) => button(verb, async () => {
      const changed = await confirm({ ...one, work: () => post(`jobs/${job.id}/${verb}`) });
      if (changed) done(changed);
    }));
  return [
    ...steering,
    button("clone", () => clone(job)),
    h("a.button", { href: `#/compare?job=${job.id}` }, "Compare"),
    ENDED.includes(job.state) && button("delete", () => forget(job)),
  ].filter(Boolean);
}

const button = (verb, onclick) =>
  h("button", { type: "button", onclick }, verb[0].toUpperCase() + verb.slice(1));

async function clone(job) {
  const once = unique();
  const made = await confirm({
    title: "Submit this job again?",
    detail: h("div", h("p", "A new job with the very same specification."),
      h("p", h("a", { href: `#/new?from=${job.id}`, onclick: (event) => event.target.closest("dialog").close() },
        "Change something first"))),
    action: "Submit it again",
    work: () => post(`jobs/${job.id}/clone`, {}, { once }),
  });
  if (made) location.hash = `#/jobs/${made.id}`;
}

async function forget(job) {
  const gone = await confirm({
    title: "Delete this job?",
    detail: "Its curves, events, report and files go with it. A teacher that was made of its student stays.",
    action: "Delete for good",
    danger: true,
    work: () => remove(`jobs/${job.id}`),
  });
  if (gone) location.hash = "#/jobs";
}
