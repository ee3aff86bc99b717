/** Beside a form that registers something: the button, what was wrong, and the request in JSON. */

import { unique } from "../lib/api.js";
import { h, text } from "../lib/dom.js";
import { copy, problem } from "../lib/parts.js";

export function enrolment({ form, action, submit }) {
  const code = h("code");
  const failed = h("div");
  const button = h("button.strong", { type: "submit" }, action);
  let once = unique();
  button.addEventListener("click", async () => {
    button.disabled = true;
    failed.replaceChildren();
    form.complain([]);
    try {
      await submit(once);
    } catch (error) {
      const left = form.complain(error.errors ?? []);
      failed.replaceChildren(
        problem(left.length || !error.errors?.length ? error : { message: "Some fields are not right yet." }),
        ...(left.length ? [h("ul", left.map((one) => h("li", `${one.pointer.slice(1)}: ${one.detail}`)))] : []),
      );
      form.reach(error.errors?.[0]?.pointer ?? "");
    } finally {
      button.disabled = false;
    }
  });
  return {
    element: h("div.aside", h("div.actions", button), failed,
      h("div.tools", h("span.small", "The request"), copy(() => code.textContent, "the request")),
      h("pre", { tabindex: "0", role: "region", "aria-label": "The request" }, code)),
    show() {
      once = unique();
      text(code, JSON.stringify(form.value, null, 2));
    },
  };
}
