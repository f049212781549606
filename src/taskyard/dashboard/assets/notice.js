// Short messages in a corner, read out by screen readers.

import { el } from "./element.js";
import { icon } from "./icon.js";
import { advice, asProblem, isAbort } from "./problem.js";

const GOOD_MS = 4000;
const BAD_MS = 12_000;
const AT_MOST = 4;

/**
 * Say something.
 * @param {string} text
 * @param {"good" | "bad"} [kind]
 * @param {string} [more]
 */
export function notice(text, kind = "good", more = "") {
  const area = document.getElementById("notices");
  if (!area) return;
  const node = el("div", { class: `notice ${kind}` },
    icon(kind === "good" ? "check" : "warn"),
    el("div", null, el("p", null, text), more && el("p", { class: "dim" }, more)),
    el("button", { type: "button", class: "bare", "aria-label": "Dismiss", onclick: () => node.remove() }, icon("close")));
  area.appendChild(node);
  while (area.children.length > AT_MOST) area.firstElementChild?.remove();
  setTimeout(() => node.remove(), kind === "good" ? GOOD_MS : BAD_MS);
}

/**
 * Say that something failed, why, and what to do.
 * @param {string} what such as "The task was not cancelled"
 * @param {unknown} error
 */
export function failed(what, error) {
  if (isAbort(error)) return;
  const problem = asProblem(error);
  const fields = problem.errors.map((one) => `${one.field} ${one.problem}`).join("; ");
  notice(`${what}: ${fields || problem.message}`, "bad", advice(problem));
}

/**
 * Do something a button asked for; say how it went. Answers whether it worked.
 * @param {string} what what has to be said when it fails
 * @param {() => Promise<string | void>} work answers with what to say when it worked
 * @returns {Promise<boolean>}
 */
export async function attempt(what, work) {
  try {
    const done = await work();
    if (done) notice(done);
    return true;
  } catch (error) {
    failed(what, error);
    return false;
  }
}
