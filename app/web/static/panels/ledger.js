/** Beside a form: what it would cost, what is wrong, and the same in JSON and for a terminal. */

import { key } from "../lib/api.js";
import { h, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { copy, facts, problem, prose, toggle } from "../lib/parts.js";

export function ledger({ form, submit }) {
  const place = h("div", { role: "status" });
  const failed = h("div");
  const code = h("code");
  const button = h("button.strong", { type: "submit", disabled: true }, "Submit the job");
  let asCurl = false;
  let value = {};

  const write = () => text(code, asCurl ? curl(value) : JSON.stringify(value, null, 2));
  const kinds = h("div.group", { role: "group", "aria-label": "The same by hand" });
  const kind = (label, curls) => toggle(label, asCurl === curls, () => {
    asCurl = curls;
    paint();
    write();
  });
  const paint = () => kinds.replaceChildren(kind("JSON", false), kind("curl", true), copy(() => code.textContent, "the request") ?? "");
  paint();

  button.addEventListener("click", async () => {
    button.disabled = true;
    failed.replaceChildren();
    try {
      await submit();
    } catch (error) {
      const left = form.complain(error.errors);
      failed.replaceChildren(problem(left.length || !error.errors.length ? error : { message: "Some fields are not right yet." }));
      button.disabled = false;
    }
  });

  return {
    element: h("div.aside", place, h("div.actions", button), failed, kinds,
      h("pre", { tabindex: "0", role: "region", "aria-label": "The request" }, code)),
    show(now) {
      value = now;
      write();
    },
    good({ estimate, device, warnings, spec }) {
      button.disabled = false;
      failed.replaceChildren();
      place.replaceChildren(
        h("h2", "This would run"),
        facts([
          ["Takes about", estimate.seconds === null ? "not known" : format.duration(estimate.seconds)],
          ["Memory", format.bytes(estimate.memory_bytes)],
          ["On", device ?? "no worker is there yet"],
          ["Precision", spec.training.precision],
          ["Training", format.rough(estimate.train_flops, "FLOP")],
          ["Teacher, once", estimate.teacher_pass_flops > 0 && format.rough(estimate.teacher_pass_flops, "FLOP")],
        ]),
        h("p.note", `${estimate.basis[0].toUpperCase()}${estimate.basis.slice(1)}.`),
        ...warnings.map((one) => h("p.problem.mild", link(form, one), " ", prose(one.detail))),
      );
    },
    bad(error) {
      button.disabled = true;
      const wrong = error.errors.filter((one) => one.code !== "missing");
      form.complain(wrong);
      place.replaceChildren(
        h("h2", wrong.length ? "Something is wrong" : error.errors.length ? "Something is missing" : "It cannot be checked"),
        error.errors.length
          ? h("ul.wrongs", error.errors.map((one) => h("li", link(form, one), " ", one.code === "missing" ? "is needed" : prose(one.detail))))
          : problem(error),
      );
    },
  };
}

function link(form, one) {
  const name = one.pointer.slice(1).replaceAll("/", " › ").replaceAll("_", " ") || "the job";
  return h("button.quiet", { type: "button", onclick: () => form.reach(one.pointer) }, name);
}

function curl(value) {
  const lines = [`curl -s ${new URL("jobs", document.baseURI).href.split("#")[0]}`, "-H 'Content-Type: application/json'"];
  if (key.get()) lines.push('-H "Authorization: Bearer $STILLHOUSE_KEY"');
  lines.push(`-d '${JSON.stringify(value, null, 2).replaceAll("'", "'\\''")}'`);
  return lines.join(" \\\n  ");
}
