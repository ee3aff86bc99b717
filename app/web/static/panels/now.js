/** How far a job is, or how it ended. */

import { attribute, h, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { facts, problem, refill, time } from "../lib/parts.js";

const WAITS = {
  queued: "Waiting for a worker",
  paused: "Paused: it goes on from its checkpoint when it is resumed",
  pausing: "Writing a checkpoint, then pausing",
  cancelling: "Writing a last checkpoint, then ending",
  succeeded: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** { element, update }: made once, so that the bar moves and does not jump. */
export function now(job) {
  const word = h("p.word");
  const trouble = h("div");
  const bar = h("i.bar", { role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": "100" });
  const told = facts([]);
  const element = h("section.running", { "aria-label": "Progress" }, word, trouble, bar, told);

  function update({ state, phase, progress = {}, error, attempt, ...times }) {
    const far = progress.fraction ?? 0;
    text(word, state === "running" ? sentence(phase) : WAITS[state] ?? state);
    if (error && !trouble.childElementCount) trouble.append(problem({ message: error.detail, requestId: error.request_id }));
    bar.style.setProperty("--done", far);
    attribute(bar, "aria-valuenow", Math.round(100 * far));
    refill(told, [
      ["Done", format.percent(far, 1)],
      ["Stage", progress.stages > 1 ? `${Math.max(progress.stage, 1)} of ${progress.stages}` : null],
      ["Epoch", progress.epochs ? format.epochs(progress) : null],
      ["Step", progress.steps ? `${format.count(progress.step)} of ${format.count(progress.steps)}` : null],
      ["Rate", state === "running" ? (progress.samples_per_s ? `${format.rough(progress.samples_per_s)} examples/s` : format.NONE) : null],
      ["Left", state === "running" ? format.duration(progress.eta_s) : null],
      ["Attempt", attempt > 1 ? String(attempt) : null],
      ["Ended", times.finished_at && h("span", time(times.finished_at), lasted(times))],
    ]);
  }
  update(job);
  return { element, update };
}

const lasted = ({ created_at: made, started_at: from, finished_at: to }) =>
  ` after ${format.duration((new Date(to) - new Date(from ?? made)) / 1000)}`;

const sentence = (word) => (word ? `${word[0].toUpperCase()}${word.slice(1)}` : "Running");
