// The history of a task: how long it was in each state, and what happened when.

import { el } from "./element.js";
import { clock, duration, secondsBetween } from "./format.js";

/** State a task is in after an event; events that are not here change none. @type {Record<string, string>} */
const AFTER = {
  due: "queued", requeued: "queued", assigned: "running", started: "running", retrying: "retrying",
  succeeded: "succeeded", failed: "failed", dead: "dead", cancelled: "cancelled", expired: "expired",
};
const WORDS = new Map(Object.entries({
  due: "became ready", assigned: "given to a worker", started: "started", kill_requested: "kill requested",
  retrying: "waits to be retried", requeued: "queued again", refused: "a late report was refused",
  rescheduled: "given another start", parked: "could not be dealt with, put aside", reprioritized: "given another priority", fired: "fired",
}));

/**
 * Stretches of time by state, the last one open while the task has not ended.
 * @param {any[]} events oldest first
 * @param {any} task
 */
function stretches(events, task) {
  if (events.length === 0) return [];
  const next = events.slice(1).find((event) => AFTER[event.kind] || event.kind === "rescheduled")?.kind;
  const waits = next === "due" || next === "rescheduled" || (!next && task.state === "scheduled");
  const list = [{ state: waits ? "scheduled" : "queued", from: events[0].at, to: /** @type {string | null} */ (null) }];
  for (const event of events.slice(1)) {
    const state = ["rescheduled", "parked"].includes(event.kind) ? "scheduled" : AFTER[event.kind];
    const last = list[list.length - 1];
    if (!state || state === last.state) continue;
    last.to = event.at;
    list.push({ state, from: event.at, to: null });
  }
  if (task.finished_at) list.pop();
  return list;
}

/**
 * A bar of the time spent in each state, in order.
 * @param {any[]} events
 * @param {any} task
 */
export function stateBar(events, task) {
  const parts = stretches(events, task).map((part) => ({ ...part, seconds: Math.max(0, secondsBetween(part.from, part.to)) }));
  if (parts.length === 0 || task.cron) return null;
  const total = parts.reduce((sum, part) => sum + part.seconds, 0) || 1;
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { state, seconds } of parts) sums.set(state, (sums.get(state) ?? 0) + seconds);
  return el("div", { class: "statebar" },
    el("div", { class: "stretches", "aria-hidden": "true" }, parts.map((part) => {
      const node = el("span", { data: { state: part.state }, title: `${part.state}: ${duration(part.seconds)}` });
      node.style.flexGrow = String(Math.max(0.02, part.seconds / total));
      return node;
    })),
    el("p", { class: "legend" }, [...sums].map(([state, seconds]) => el("span", { class: "badge", data: { state } }, `${state} ${duration(seconds)}`))));
}

/**
 * What happened, oldest first, with the time since the step before.
 * @param {any[]} events
 * @param {boolean} more whether there is more than what is listed
 */
export function eventList(events, more) {
  return el("ol", { class: "history" }, events.map((event, i) =>
    el("li", { data: { state: AFTER[event.kind] ?? "" } },
      el("div", { class: "row wrap" },
        el("strong", null, WORDS.get(event.kind) ?? event.kind),
        event.actor && el("span", { class: "dim" }, `by ${event.actor}`)),
      el("p", { class: "dim num when" }, el("time", { datetime: event.at, title: event.at }, clock(event.at)),
        i > 0 && ` · ${duration(secondsBetween(events[i - 1].at, event.at))} later`),
      event.detail && el("p", { class: "dim" }, event.detail))),
  more && el("li", { class: "dim" }, "and more; the API has the rest"));
}
