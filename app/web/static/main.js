/** Which page is seen, by the part of the address behind #; and what every page shares. */

import { bus, key } from "./lib/api.js";
import { h, say, text } from "./lib/dom.js";
import { heading, problem } from "./lib/parts.js";
import { signin } from "./pages/signin.js";

const ID = "([0-9a-z_]+)";
const ROUTES = [
  ["/", () => import("./pages/jobs.js")],
  ["/jobs", () => import("./pages/jobs.js")],
  [`/jobs/${ID}`, () => import("./pages/job.js")],
  ["/new", () => import("./pages/compose.js")],
  ["/compare", () => import("./pages/compare.js")],
  ["/teachers", () => import("./pages/teachers.js")],
  ["/teachers/new", () => import("./pages/register_teacher.js")],
  [`/teachers/${ID}`, () => import("./pages/teacher.js")],
  ["/datasets", () => import("./pages/datasets.js")],
  ["/datasets/new", () => import("./pages/register_dataset.js")],
  [`/datasets/${ID}`, () => import("./pages/dataset.js")],
].map(([path, load]) => [new RegExp(`^${path}$`), load]);

const main = document.getElementById("main");
let leaving = new AbortController();
let opened = false;

/** Opens what the address names. A page is a function of ({ id, query, signal }) that gives
 * { title, element }, and lives until `signal` is aborted. */
async function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  for (const link of document.querySelectorAll("nav a")) {
    const here = path.startsWith(link.hash.slice(1)) || (path === "/" && link.hash === "#/jobs");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const route = ROUTES.map(([pattern, load]) => [pattern.exec(path), load]).find(([match]) => match);
  let page;
  try {
    if (!route) throw new Error("There is no such page.");
    const { default: make } = await route[1]();
    page = await make({ id: route[0][1], query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted || error.status === 401) return;
    page = { title: "A problem", element: h("div", heading("This did not work"), problem(error, { retry: open })) };
  }
  if (!signal.aborted) show(page);
}

function show({ title, element }) {
  main.replaceChildren(element);
  document.title = title ? `${title} · Stillhouse` : "Stillhouse";
  if (opened) {
    scrollTo(0, 0);
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
    say(title);
  }
  opened = true;
}

bus.addEventListener("signin", () => {
  if (main.firstElementChild?.id === "signin") return;
  leaving.abort();
  show({ title: "Sign in", element: signin(opening) });
});

function opening() {
  signout.hidden = !key.get();
  return open();
}

const signout = document.getElementById("signout");
signout.hidden = !key.get();
signout.addEventListener("click", () => {
  key.forget();
  location.hash = "#/jobs";
  opening();
});

const offline = document.getElementById("offline");
bus.addEventListener("away", () => {
  text(offline, "The service does not answer. What you see may be old; it is asked again.");
  offline.hidden = false;
});
bus.addEventListener("back", () => (offline.hidden = true));

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = document.getElementById("theme");
function label() {
  const now = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const other = now === "dark" ? "light" : "dark";
  theme.dataset.to = other;
  theme.setAttribute("aria-label", `Use the ${other} theme`);
  theme.title = `Use the ${other} theme`;
}
theme.addEventListener("click", () => {
  const { to } = theme.dataset;
  document.documentElement.dataset.theme = to;
  localStorage.setItem("stillhouse.theme", to);
  label();
  dispatchEvent(new Event("themechange"));
});
dark.addEventListener("change", label);
label();

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", open);
open();
