// Workers and how full they are.

import { get } from "./api.js";
import { el, fill } from "./element.js";
import { bytes, timeElement } from "./format.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { every } from "./pulse.js";

const LOOK_MS = 3000;

/**
 * A bar of what is used of a total.
 * @param {string} label
 * @param {number} used
 * @param {number} total
 * @param {(n: number) => string} say
 */
export function usageBar(label, used, total, say) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const inner = el("span", { class: share > 0.9 ? "full" : share > 0.7 ? "busy" : "" });
  inner.style.inlineSize = `${(share * 100).toFixed(1)}%`;
  return el("div", { class: "usage" },
    el("span", null, label), el("span", { class: "dim num" }, `${say(used)} of ${say(total)}`),
    el("div", { class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": total, "aria-valuenow": used, "aria-valuetext": `${say(used)} of ${say(total)}` }, inner));
}

/** @param {any} worker */
function card(worker) {
  const { capacity, used } = worker;
  const count = (/** @type {number} */ n) => String(Math.round(n * 100) / 100);
  return el("li", { class: "card worker" },
    el("div", { class: "row" }, el("strong", { class: "grow clip", title: worker.id }, worker.id), el("span", { class: "badge", data: { state: worker.state } }, worker.state)),
    el("p", { class: "dim clip" }, `${worker.hostname} · ${(worker.runtimes ?? []).join(", ")} · ${worker.version}`),
    usageBar("Slots", used.slots, capacity.slots, count),
    usageBar("CPU", used.cpu, capacity.cpu, count),
    usageBar("Memory", used.memory_bytes, capacity.memory_bytes, bytes),
    el("p", { class: "dim" }, "heard from ", timeElement(worker.beat_at)));
}

/**
 * The list of workers; looks again every few seconds.
 * @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function workerList(signal) {
  const list = el("ul", { class: "cards" });
  const note = el("div");
  const look = async () => {
    try {
      const { items } = await get("/workers", {}, signal);
      fill(note, items.length === 0 && el("p", { class: "empty" }, "No worker has joined. Tasks wait until one does: start one with “taskyard up” or “taskyard worker”."));
      fill(list, items.map(card));
    } catch (error) {
      if (!isAbort(error)) fill(note, problemBox("The workers could not be loaded", asProblem(error), look));
    }
  };
  every(LOOK_MS, look, signal);
  return el("section", { "aria-labelledby": "workers-title" }, el("h2", { id: "workers-title" }, "Workers"), note, list);
}
