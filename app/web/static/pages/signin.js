/** Where a key is asked for. */

import { ask, key } from "../lib/api.js";
import { fresh, h } from "../lib/dom.js";
import { heading } from "../lib/parts.js";

/** `done` is called once a key was taken. */
export function signin(done) {
  const id = fresh("key");
  const told = fresh("told");
  const message = h("p.wrong", { id: told, role: "alert" });
  const input = h("input.code", {
    id, type: "password", autocomplete: "off", spellcheck: "false", required: true, placeholder: "sh_…",
    "aria-describedby": told,
  });
  if (key.get()) message.textContent = "The key that was used here is not known any more.";
  const form = h(
    "form.narrow",
    { onsubmit: enter },
    h("label", { for: id }, "API key"),
    input,
    message,
    h("div.actions", h("button.strong", { type: "submit" }, "Sign in")),
  );

  async function enter(event) {
    event.preventDefault();
    key.set(input.value.trim());
    let response;
    try {
      response = await ask("jobs?limit=1");
    } catch (error) {
      message.textContent = error.message;
      return;
    }
    if (response.ok) return done();
    key.forget();
    input.setAttribute("aria-invalid", "true");
    message.textContent = response.status === 403
      ? "This key may not read jobs: it lacks the scope jobs:read."
      : "This key is not known, or has ended.";
    input.select();
  }

  return h(
    "div",
    { id: "signin" },
    heading("Sign in"),
    h("p.lead", "This service asks for an API key. An admin makes one with ",
      h("code", "python -m app.projects keys create"), " or ", h("code", "POST /keys"), "."),
    form,
    h("p.small.narrow",
      "The key is kept in this tab's session storage and sent as a header with each request: it ends with the tab, " +
      "no other site can make your browser send it as it could a cookie, and it is in no address."),
  );
}
