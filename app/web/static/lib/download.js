/** Downloads. A link cannot send a key: with one, the bytes are fetched here and then saved. */

import { ask, checked, key, relative } from "./api.js";
import { h, text } from "./dom.js";
import { fail } from "./dialog.js";

export function download(path, filename, ...label) {
  const link = h("a", { href: relative(path), download: filename }, ...label);
  link.addEventListener("click", (event) => {
    if (!key.get()) return;
    event.preventDefault();
    if (!link.dataset.busy) fetched(link, path, filename);
  });
  return link;
}

async function fetched(link, path, filename) {
  link.dataset.busy = "";
  const before = link.textContent;
  text(link, "Fetching …");
  try {
    // A store's own address would not let a script of this page read: the bytes, not the way there.
    const response = await checked(await ask(path, { headers: { Prefer: "return=representation" } }));
    const address = URL.createObjectURL(await response.blob());
    h("a", { href: address, download: filename }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    fail(error);
  } finally {
    text(link, before);
    delete link.dataset.busy;
  }
}
