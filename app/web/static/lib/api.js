/** The API, as any client sees it. Addresses are relative: the service may live below a path. */

const KEY = "stillhouse.key";
const REMEMBERED = 200;

export class Problem extends Error {
  /** @param {object} document RFC 9457, or what stands for it where no answer came */
  constructor(document) {
    super(document.detail);
    this.status = document.status;
    this.code = document.code;
    this.errors = document.errors ?? [];
    this.retryable = document.retryable;
    this.requestId = document.request_id;
  }
}

/** `signin` when a key is asked for; `away` and `back` when the service is. */
export const bus = new EventTarget();

let away = false;
function tell(isAway) {
  if (isAway === away) return;
  away = isAway;
  bus.dispatchEvent(new Event(away ? "away" : "back"));
}

/* A key stays in this tab, and ends with it. A cookie would be sent by any page that has a form;
   localStorage would outlive the visit, and be there for the next person at this machine. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget() {
    sessionStorage.removeItem(KEY);
    seen.clear();
  },
};

export function headers(more) {
  const given = key.get();
  return { ...(given ? { Authorization: `Bearer ${given}` } : {}), ...more };
}

/** The response, whatever its status, but for those that were no answer at all. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(relative(path), {
      cache: "no-store",
      ...options,
      headers: headers(options.headers),
    });
  } catch (error) {
    if (error.name !== "AbortError") {
      tell(true);
      throw new Problem({ status: 0, code: "away", detail: "The service does not answer.", retryable: true });
    }
    throw error;
  }
  tell(false);
  if (response.status === 401) bus.dispatchEvent(new Event("signin"));
  return response;
}

export const relative = (path) => path.replace(/^\//, "");

export async function checked(response) {
  if (response.ok) return response;
  let document;
  try {
    document = await response.json();
  } catch {
    document = { detail: `The service answered ${response.status}.`, code: "http_error" };
  }
  throw new Problem({ status: response.status, ...document });
}

const seen = new Map();

/** A resource. While it does not change, it is not sent again, and is the very same object. */
export async function get(path, { signal } = {}) {
  const known = seen.get(path);
  const given = known ? { "If-None-Match": known.etag } : {};
  const response = await ask(path, { signal, headers: given });
  if (response.status === 304) return known.body;
  const body = await (await checked(response)).json();
  const etag = response.headers.get("etag");
  seen.delete(path);
  if (etag) seen.set(path, { etag, body });
  if (seen.size > REMEMBERED) seen.delete(seen.keys().next().value);
  return body;
}

/** A resource, or null where this service has none such (404, or one that is not made yet). */
export async function maybe(path, options) {
  try {
    return await get(path, options);
  } catch (error) {
    if (error.status === 404 || error.status === 409) return null;
    throw error;
  }
}

export async function post(path, body, { signal, once } = {}) {
  const response = await ask(path, {
    method: "POST",
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: {
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(once ? { "Idempotency-Key": once } : {}),
    },
  });
  return (await checked(response)).json();
}

export async function remove(path) {
  await checked(await ask(path, { method: "DELETE" }));
}

/** A name that no other request has: sent twice, a POST is done once. */
export function unique() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What to put behind a path, which may have some already. */
export function query(parameters, path = "") {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    [value].flat().filter((one) => one !== null && one !== undefined && one !== "").map((one) => [name, one]),
  );
  const made = new URLSearchParams(pairs).toString();
  return made && (path.includes("?") ? `&${made}` : `?${made}`);
}

/** Every item of a list, by its cursors, up to `most`. */
export async function everything(path, { signal, most = 2000 } = {}) {
  const found = [];
  let cursor = null;
  do {
    const page = await get(path + query({ limit: 200, cursor }, path), { signal });
    found.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor && found.length < most);
  return found;
}
