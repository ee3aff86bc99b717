/** Elements, made by hand. Text is always text: nothing here reads HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** h("a.quiet", { href, onclick }, "text", child): null, false and undefined are left out. */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  return fill(element, props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  if (props !== null && (typeof props !== "object" || props instanceof Node || Array.isArray(props))) {
    children.unshift(props);
    props = {};
  }
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  element.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
  else if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
  else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
  else if (value === true) element.setAttribute(name, "");
  else if (value !== false) element.setAttribute(name, value);
}

/** Changes an attribute, text or class only where it differs: what did not change is not painted. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function attribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes the children of `parent` those of `items`, in order, each made once for its key and then
 * only updated. `make(item)` returns { element, update }.
 */
export function keyed(parent, items, key, make) {
  const known = (parent.keyed ??= new Map());
  const wanted = new Set(items.map(key));
  for (const [id, part] of known) {
    if (!wanted.has(id)) {
      part.element.remove();
      known.delete(id);
    }
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    let part = known.get(id);
    if (!part) known.set(id, (part = make(item)));
    else part.update?.(item);
    if (part.element === place) place = place.nextElementSibling;
    else parent.insertBefore(part.element, place);
  }
}

/** Runs `work` in the next frame, however often it was asked for before. */
export function framed(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Runs `work` once it was left alone for so long. */
export function settled(work, ms) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(work, ms, ...given);
  };
}

export const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

let count = 0;
export const fresh = (what) => `${what}-${++count}`;

/** Tells those who do not see the page. */
export function say(message) {
  document.getElementById("said").textContent = message;
}
