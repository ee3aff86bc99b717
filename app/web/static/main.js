/** Which page is seen, by the part of the address behind #; and what every page shares. */

import { ask, bus, key, Problem } from "./lib/api.js";
import { h, say, text } from "./lib/dom.js";
import { repeat } from "./lib/live.js";
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

const LISTS = { teachers: ["#/teachers", "To the teachers"], datasets: ["#/datasets", "To the data sets"] };
const JOBS = ["#/jobs", "To the jobs"];
const ALIVE = "healthz";
const ASK_EVERY_MS = 3000;

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
    if (!route) throw new Problem({ status: 404, detail: "There is no such page." });
    const make = await loaded(route[1], signal);
    page = await make({ id: route[0][1], query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted || error.status === 401) return;
    page = failed(error, path);
  }
  if (!signal.aborted) show(page);
}

/** A page's module. The browser keeps in mind that one did not come, with all that it imports, until
 * everything is loaded anew: which is of use once the service answers again. */
async function loaded(load, signal) {
  try {
    return (await load()).default;
  } catch {
    repeat(() => ask(ALIVE), ASK_EVERY_MS, signal); // so that the line above the page stays true
    const error = new Problem({ status: 0, detail: "The service was not reached, or is another version by now: this page could not be opened." });
    throw Object.assign(error, { retry: () => ask(ALIVE).then(() => location.reload(), () => {}) });
  }
}

/** What is not there will not be there by asking again. */
function failed(error, path) {
  const [address, label] = LISTS[path.split("/")[1]] ?? JOBS;
  const retry = error.status === 404 ? null : error.retry ?? open;
  return {
    title: "A problem",
    element: h("div", heading("This did not work"), problem(error, { retry }),
      address !== `#${path}` && h("p", h("a", { href: address }, label))),
  };
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
