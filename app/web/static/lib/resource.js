/** What the pages of a teacher and of a data set share: a state that settles, and an end. */

import { get, maybe, remove } from "./api.js";
import { confirm } from "./dialog.js";
import { h } from "./dom.js";
import { repeat } from "./live.js";
import { heading, problem, state } from "./parts.js";

/** `body(resource)` gives what is shown once it was checked; it is made again when the state changes. */
export async function resource({ path, home, what, signal, body, actions }) {
  let current = await get(path, { signal });
  const badge = h("span");
  const buttons = h("div.actions");
  const place = h("div");

  const forget = async () => {
    const gone = await confirm({
      title: `Delete this ${what}?`,
      detail: "Jobs that have ended keep what they made. One that has not ended keeps it from being deleted.",
      action: "Delete for good",
      danger: true,
      work: () => remove(path),
    });
    if (gone) location.hash = home;
  };
  function show() {
    badge.replaceChildren(state(current.state));
    buttons.replaceChildren(
      ...(current.state === "ready" ? actions(current) : []),
      h("button", { type: "button", onclick: forget }, "Delete"),
    );
    place.replaceChildren(
      ...(current.error ? [problem({ message: current.error.detail, requestId: current.error.request_id })] : []),
      ...(current.state === "checking" ? [h("p.lead", "A worker is reading it.")] : body(current)),
    );
  }
  show();
  const waiting = new AbortController();
  signal.addEventListener("abort", () => waiting.abort());
  repeat(async () => {
    if (current.state !== "checking") return waiting.abort();
    const before = current.state;
    current = await get(path, { signal });
    if (current.state !== before) show();
  }, 1000, waiting.signal);
  return { title: current.name, element: h("article", heading(current.name, badge), buttons, place) };
}

const names = new Map();

/** A link that has its id until the name is known; one that was deleted keeps it. */
export function named(kind, id, signal) {
  const link = h("a", { href: `#/${kind}/${id}` }, names.get(id) ?? id);
  if (!names.has(id)) {
    maybe(`${kind}/${id}`, { signal })
      .then((found) => {
        if (found) names.set(id, (link.textContent = found.name));
        else link.replaceWith(`${id} (deleted)`);
      })
      .catch(() => {});
  }
  return link;
}
