/** Questions before something is done, in the browser's own dialogs: focus and Escape come with them. */

import { fresh, h } from "./dom.js";
import { problem } from "./parts.js";

/**
 * Asks, and does it: `work()` runs while the dialog stays open, and a problem is shown in it.
 * Resolves to what `work` gave, or null when it was called off.
 */
export function confirm({ title, detail, action, danger, work }) {
  const id = fresh("dialog");
  const place = h("div");
  const go = h(danger ? "button.strong.danger" : "button.strong", { type: "submit" }, action);
  const dialog = h(
    "dialog",
    { "aria-labelledby": id },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      h("div", detail),
      place,
      h("div.actions", h("button", { type: "button", onclick: () => dialog.close() }, "Not now"), go),
    ),
  );
  return new Promise((resolve) => {
    let result = null;
    dialog.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      try {
        result = (await work?.()) ?? true;
        dialog.close();
      } catch (error) {
        place.replaceChildren(problem(error));
        go.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says what went wrong with something that was asked for by a click. */
export function fail(error) {
  const dialog = h(
    "dialog",
    { "aria-label": "A problem" },
    h("form", { method: "dialog" }, problem(error), h("div.actions", h("button.strong", { type: "submit" }, "Close"))),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
