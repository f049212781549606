// Which page an address names. Addresses live behind the #, so that the server needs to know one
// page only: #/tasks?state=failed, #/tasks/ID.

/**
 * @typedef {object} View what a page gets
 * @property {HTMLElement} root to be filled
 * @property {string[]} params parts of the address behind the page's name
 * @property {URLSearchParams} query
 * @property {AbortSignal} signal aborts when the page is left
 * @property {(text: string) => void} title name the page, in the heading of the window
 * @typedef {(view: View) => Promise<void> | void} Page
 */

/**
 * Where the reader is.
 * @returns {{name: string, params: string[], query: URLSearchParams}}
 */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name = "", ...params] = path.split("/").map(unescape);
  return { name, params, query: new URLSearchParams(query) };
}

/** @param {string} part */
function unescape(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone % typed by hand
  }
}

/**
 * The address of a page.
 * @param {string[]} parts such as ["tasks", id]
 * @param {URLSearchParams | Record<string, string> | null} [query]
 */
export function address(parts, query = null) {
  const text = query ? new URLSearchParams(query).toString() : "";
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} where an address made by `address` */
export function go(where) {
  location.hash = where;
}

/**
 * Change the address without a step in the history and without building the page again.
 * @param {string} where
 */
export function amend(where) {
  history.replaceState(null, "", where);
}

/**
 * Show the page of the address, now and whenever it changes.
 * @param {Record<string, Page>} pages by name; `""` is the first, `*` for unknown ones
 * @param {() => HTMLElement} prepare empties the place for a page and hands it out
 * @param {AbortSignal} signal
 */
export function route(pages, prepare, signal) {
  let leave = new AbortController();
  const render = async () => {
    leave.abort();
    leave = new AbortController();
    const { name, params, query } = here();
    const page = pages[name] ?? pages["*"];
    const root = prepare();
    const title = (/** @type {string} */ text) => {
      document.title = `${text} · Taskyard`;
    };
    await page({ root, params, query, signal: leave.signal, title });
  };
  window.addEventListener("hashchange", () => void render(), { signal });
  signal.addEventListener("abort", () => leave.abort(), { once: true });
  void render();
}
