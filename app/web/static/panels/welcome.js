/** Before there is any job: what it takes, and how far that is. */

import { get, post, unique } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { fail } from "../lib/dialog.js";

export function welcome(signal) {
  const steps = h("ol.steps");
  const element = h(
    "div.welcome",
    h("h2", "Nothing has been distilled here yet"),
    h("p.lead", "A job takes a data set and a teacher, trains a smaller student from both, and the same student " +
      "without the teacher. Then it says whether the teacher helped."),
    steps,
  );
  fill(steps, signal).catch(() => {});
  return element;
}

async function fill(steps, signal) {
  const [datasets, teachers] = await Promise.all(
    ["datasets?limit=1", "teachers?limit=1"].map((path) => get(path, { signal })),
  );
  const digits = h("button", { type: "button" }, "Take the built-in digits");
  digits.addEventListener("click", async () => {
    digits.disabled = true;
    try {
      const source = { kind: "builtin", name: "digits" };
      const made = await post("datasets", { name: "digits", source }, { once: unique() });
      location.hash = `#/datasets/${made.id}`;
    } catch (error) {
      digits.disabled = false;
      fail(error);
    }
  });
  steps.replaceChildren(
    step("A data set", datasets.data.length > 0, "Upload one, or begin with 1,797 handwritten digits.",
      h("a.button", { href: "#/datasets/new" }, "Register a data set"), digits),
    step("A teacher", teachers.data.length > 0, "Upload a checkpoint, or train one here with the method “supervised”.",
      h("a.button", { href: "#/teachers/new" }, "Register a teacher"),
      h("a.button", { href: "#/new?method=supervised" }, "Train one")),
    step("A job", false, "Choose a method and a student; the form says what it will cost before it runs.",
      h("a.button.strong", { href: "#/new" }, "Compose a job")),
  );
}

function step(title, done, detail, ...actions) {
  return h("li", { "data-done": done ? "" : null }, h("h3", title, done && h("small", " is there")), h("p", detail), h("div.actions", actions));
}
