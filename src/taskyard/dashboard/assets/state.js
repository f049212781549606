// The states of tasks and attempts, their colours and words.

import { el } from "./element.js";

/** In the order of a task's life. */
export const STATES = ["scheduled", "queued", "running", "retrying", "succeeded", "failed", "dead", "cancelled", "expired"];
export const WAITING = new Set(["scheduled", "queued", "retrying"]);
export const ENDED = new Set(["succeeded", "failed", "dead", "cancelled", "expired"]);
/** States a task can be submitted again from. */
export const RETRYABLE = new Set(["failed", "dead", "cancelled", "expired"]);

/**
 * A badge: a coloured dot and the word, so that the colour is never alone.
 * @param {string} state of a task or an attempt
 */
export function badge(state) {
  return el("span", { class: "badge", data: { state } }, state);
}

/**
 * Change a badge in place.
 * @param {HTMLElement} node
 * @param {string} state
 */
export function setBadge(node, state) {
  if (node.dataset.state === state) return;
  node.dataset.state = state;
  node.textContent = state;
}

const REASONS = new Map(Object.entries({
  exit_code: "ended with an error",
  signal: "died of a signal",
  timeout: "ran out of time",
  out_of_memory: "ran out of memory",
  start_failed: "could not be started",
  secret_missing: "a secret is missing",
  killed: "killed on request",
  worker_lost: "its worker was lost",
  exit_unknown: "nobody saw how it ended",
  runtime_trouble: "trouble below the work",
  expired: "expired",
}));

/**
 * Why something ended, in words.
 * @param {string | null} reason
 */
export function reasonText(reason) {
  return reason ? REASONS.get(reason) ?? reason : "";
}
