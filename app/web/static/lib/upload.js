/** A file on its way to the service, with how far it is. */

import { checked, headers, Problem } from "./api.js";
import { h, text } from "./dom.js";
import * as format from "./format.js";

/** POST /files; `told(sent, size)` is called on the way. fetch() cannot tell that. */
export function send(file, told, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "files");
    const given = headers({ "Content-Type": "application/octet-stream", "X-Filename": encodeURIComponent(file.name) });
    for (const [name, value] of Object.entries(given)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => told(event.loaded, event.total);
    const away = () => reject(new Problem({ status: 0, detail: "The upload was cut. Choose the file again." }));
    request.onerror = away;
    request.onabort = away;
    request.onload = () => {
      const response = new Response(request.responseText, { status: request.status });
      checked(response).then((good) => good.json()).then(resolve, reject);
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/** A field that uploads at once. `take(file)` gets what the API made of it, null while there is none. */
export function upload({ label, pointer, form, note, take, accept, several }) {
  const input = h("input", { type: "file", accept, multiple: several });
  const bar = h("i.bar", { hidden: true, role: "progressbar", "aria-label": "Upload", "aria-valuemin": "0", "aria-valuemax": "100" });
  const told = h("p.note", { role: "status" });
  let running = null;
  input.addEventListener("change", async () => {
    running?.abort();
    const { signal } = (running = new AbortController());
    const chosen = [...input.files];
    take(null);
    bar.hidden = !chosen.length;
    try {
      const made = [];
      for (const file of chosen) {
        made.push(await send(file, (sent, size) => {
          bar.style.setProperty("--done", sent / size);
          bar.setAttribute("aria-valuenow", Math.round((100 * sent) / size));
          text(told, `${file.name}: ${format.bytes(sent)} of ${format.bytes(size)}`);
        }, signal));
      }
      if (!made.length || signal.aborted) return;
      text(told, made.map((one) => `${one.filename}: ${format.bytes(one.size)}, SHA-256 ${one.sha256.slice(0, 12)}…`).join("; "));
      take(several ? made : made[0]);
    } catch (error) {
      if (!signal.aborted) form.complain([{ pointer, detail: error.message }]);
    } finally {
      if (!signal.aborted) bar.hidden = true;
    }
  });
  const field = form.frame(input, { label, pointer, note, full: true });
  field.append(bar, told);
  return field;
}
