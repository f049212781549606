// Keys that work on every page, and the list of all keys.

import { el } from "./element.js";
import { show } from "./dialog.js";
import { go } from "./router.js";

/** @type {[string, string][]} */
const KEYS = [
  ["j / k", "next / previous row of a list"],
  ["Enter", "open the row"],
  ["x", "select the row"],
  ["/", "search"],
  ["g then o, t, n, s, p", "go to overview, tasks, new task, schedules, groups"],
  ["?", "this list"],
];

/** @type {Record<string, string>} */
const GOALS = { o: "#/", t: "#/tasks", n: "#/submit", s: "#/schedules", p: "#/groups" };
const CHORD_MS = 1200;

/**
 * Whether a key press belongs to a control, a dialog or the browser, not to the page.
 * @param {KeyboardEvent} event
 */
export function isTaken(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented
    || Boolean(target.closest?.("input:not([type=checkbox]), textarea, select, dialog"));
}

/** Show all keys. */
export function showShortcuts() {
  void show("Keyboard shortcuts", el("dl", { class: "pairs" }, KEYS.map(([keys, words]) => [el("dt", null, el("kbd", null, keys)), el("dd", null, words)])));
}

/** @param {AbortSignal} signal */
export function listenForShortcuts(signal) {
  let goUntil = 0;
  document.addEventListener("keydown", (event) => {
    if (isTaken(event)) return;
    if (event.timeStamp < goUntil && GOALS[event.key]) {
      event.preventDefault();
      go(GOALS[event.key]);
    } else if (event.key === "?") showShortcuts();
    goUntil = event.key === "g" ? event.timeStamp + CHORD_MS : 0;
  }, { signal });
}
