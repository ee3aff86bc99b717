/**
 * A job as it happens: by its stream of server-sent events, or by asking again and again where
 * there is none. EventSource cannot send a key, so the stream is read by hand.
 */

import { ask, get } from "./api.js";
import { sleep } from "./dom.js";

const ASK_EVERY_MS = 1000;
const REST_MS = 500;
const LONGEST_REST_MS = 15_000;
const TRIES = 3;

/**
 * Calls, until the job has ended or `signal` is aborted:
 *   on.job({ state, phase, attempt, progress, ... })  what changed of the job
 *   on.points([{ key, step, epoch, time, value }], seq)  new points of curves, by column
 *   on.stale()  that there may be new points, without telling which
 *   on.transition(event)
 *   on.mode("stream" | "poll")
 * `seq` is what is known already.
 */
export async function follow(id, seq, on, signal) {
  let place = seq;
  let failures = 0;
  while (!signal.aborted) {
    await shown(signal);
    try {
      const end = await stream(id, place, on, signal, (number) => {
        place = number;
        failures = 0;
      });
      if (end === "done") return;
      if (end === "none") return await poll(id, on, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) throw error;
    }
    failures += 1;
    if (failures > TRIES) return await poll(id, on, signal);
    await sleep(Math.min(REST_MS * 2 ** failures, LONGEST_REST_MS), signal);
    on.stale();
  }
}

/** "done", "none" where this service has no streams, or "cut". */
async function stream(id, seq, on, signal, reached) {
  const inner = new AbortController();
  const stop = () => inner.abort();
  // A browser opens six connections to a server: a tab that nobody sees gives its own back.
  const hide = () => document.hidden && stop();
  signal.addEventListener("abort", stop, { once: true });
  document.addEventListener("visibilitychange", hide);
  try {
    const response = await ask(`jobs/${id}/stream?after=${seq}`, {
      signal: inner.signal,
      headers: { Accept: "text/event-stream" },
    });
    if (response.status === 204) return "done";
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) return "none";
    on.mode("stream");
    for await (const { event, data, id: number } of events(response.body)) {
      if (number) reached(Number(number));
      if (event === "metrics") on.points(data.series, Number(number));
      else if (event === "progress") on.job(data);
      else if (event === "state") on.transition(data);
      else if (event === "done") {
        on.job(data);
        return "done";
      }
    }
    return "cut";
  } catch (error) {
    if (inner.signal.aborted && !signal.aborted) return "cut";
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", hide);
  }
}

/** The events of a stream (HTML, section 9.2.6); comments and what has no data are left out. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let fields = {};
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (fields.data !== undefined) yield { ...fields, data: JSON.parse(fields.data) };
          fields = {};
          continue;
        }
        const [, name, content] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (name === "data") fields.data = fields.data === undefined ? content : `${fields.data}\n${content}`;
        else if (name === "event" || name === "id") fields[name] = content;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function poll(id, on, signal) {
  on.mode("poll");
  let rest = ASK_EVERY_MS;
  let state = null;
  while (!signal.aborted) {
    await shown(signal);
    try {
      const job = await get(`jobs/${id}`, { signal });
      on.job(job);
      on.stale();
      if (job.state !== state) on.transition(null);
      state = job.state;
      if (job.is_terminal) return;
      rest = ASK_EVERY_MS;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) throw error;
      rest = Math.min(2 * rest, LONGEST_REST_MS);
    }
    await sleep(rest, signal);
  }
}

/** Waits while nobody sees this tab. */
export function shown(signal) {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal?.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal?.addEventListener("abort", look, { once: true });
  });
}

/** Calls `work` now and then again and again, while the tab is seen; slower while it fails. */
export async function repeat(work, ms, signal) {
  let rest = ms;
  while (!signal.aborted) {
    await shown(signal);
    if (signal.aborted) return;
    try {
      await work();
      rest = ms;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return;
      rest = Math.min(2 * rest, LONGEST_REST_MS);
    }
    await sleep(rest, signal);
  }
}
