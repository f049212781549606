// What went wrong, in the server's words (RFC 9457), and what to do about it.

import { el } from "./element.js";
import { icon } from "./icon.js";

/** No answer, or one of a server or a proxy that is not ready: it passes by itself. */
const PASSING = new Set([0, 502, 503, 504]);
const RETRY_MS = 3000;

/** @typedef {{field: string, problem: string}} FieldProblem */

/** An answer that is an error, or no answer at all (status 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{title?: string, detail?: string, errors?: FieldProblem[], request_id?: string}} document
   * @param {number | null} [retryAfterS]
   */
  constructor(status, document, retryAfterS = null) {
    super(document.detail || document.title || `the server answered ${status}`);
    this.status = status;
    this.title = document.title ?? "";
    this.errors = document.errors ?? [];
    this.requestId = document.request_id ?? null;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * What somebody can do about it, in one sentence.
 * @param {Problem} problem
 */
export function advice(problem) {
  switch (problem.status) {
    case 0: return "Check that the server runs and that this machine reaches it; the page tries again by itself.";
    case 401: return "Sign in again; the credential is wrong, expired or revoked.";
    case 403: return "Ask an administrator of this workspace for a higher role.";
    case 404: return "It may have been deleted or belong to another workspace.";
    case 409: return "Its state has changed in the meantime; look at it again and decide again.";
    case 413: return "Send less at once.";
    case 422: return "Correct the marked fields and send it again.";
    case 429: return problem.retryAfterS ? `Try again in ${Math.ceil(problem.retryAfterS)} s.` : "Try again a little later.";
    case 503: return "The server is starting or stopping; try again in a moment.";
    case 507: return "Nothing was stored; free disk space on the server.";
    default: return problem.requestId ? `The server's log has the details under request ${problem.requestId}.` : "Try again; if it stays, look into the server's log.";
  }
}

/**
 * Whatever was thrown, as a Problem. An abort is not one: it is thrown on.
 * @param {unknown} error
 * @returns {Problem}
 */
export function asProblem(error) {
  if (error instanceof Problem) return error;
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  return new Problem(-1, { title: "The page failed", detail: error instanceof Error ? error.message : String(error) });
}

/**
 * Whether something was thrown only because its page was left.
 * @param {unknown} error
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * A box that tells about a problem, with a button to try again.
 * @param {string} what what could not be done, such as "The tasks could not be loaded"
 * @param {Problem} problem
 * @param {(() => void) | null} [again]
 */
export function problemBox(what, problem, again = null) {
  const box = el("div", { class: "problem", role: "alert" }, icon("warn"),
    el("div", null,
      el("p", null, el("strong", null, what), ": ", problem.message),
      problem.errors.length > 0 && el("ul", null, problem.errors.map((one) => el("li", null, el("code", null, one.field), ` ${one.problem}`))),
      el("p", { class: "dim" }, advice(problem)),
      again && el("button", { type: "button", class: "small", onclick: again }, "Try again")));
  // An outage ends without a change that would be heard of; the page that still shows it looks.
  if (again && PASSING.has(problem.status)) setTimeout(() => { if (box.isConnected) again(); }, RETRY_MS);
  return box;
}
