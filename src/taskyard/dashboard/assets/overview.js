// The overview: how many tasks are in which state, how fast they end, workers, groups.

import { get } from "./api.js";
import { onChanges } from "./changes.js";
import { el, fill, setText } from "./element.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { every, throttled } from "./pulse.js";
import { rateCurve } from "./rate.js";
import { address } from "./router.js";
import { STATES } from "./state.js";
import { groupTable } from "./groups.js";
import { planeList } from "./planes.js";
import { workerList } from "./workers.js";
import { may } from "./session.js";

const RECOUNT_MS = 10_000;
const SOON_MS = 2000;

/**
 * Tiles with live counts: changes are added as they come, and the server's own counts replace the
 * sums every few seconds, since some changes fall between the first count and the stream's start.
 * @param {AbortSignal} signal
 */
function tiles(signal) {
  /** @type {Record<string, number>} */
  let counts = {};
  const figures = new Map(STATES.map((state) => [state, el("strong", { class: "figure" }, "–")]));
  const note = el("div");
  const draw = () => {
    for (const [state, figure] of figures) {
      const count = Math.max(0, counts[state] ?? 0);
      setText(figure, count.toLocaleString("en"));
      figure.parentElement?.classList.toggle("none", count === 0);
    }
  };
  const count = async () => {
    try {
      counts = (await get("/tasks/counts", {}, signal)).counts;
      fill(note);
      draw();
    } catch (error) {
      if (!isAbort(error)) fill(note, problemBox("The counts could not be loaded", asProblem(error), count));
    }
  };
  const soon = throttled(SOON_MS, count, signal);
  onChanges((batch, gap) => {
    for (const { kind, state, was } of batch) {
      if (kind === "deleted") counts[state] = (counts[state] ?? 0) - 1;
      else if (state !== was) {
        counts[state] = (counts[state] ?? 0) + 1;
        if (was) counts[was] = (counts[was] ?? 0) - 1;
      }
    }
    draw();
    if (gap || batch.length > 0) soon();
  }, signal);
  every(RECOUNT_MS, count, signal);
  return el("section", { "aria-label": "Tasks by state" }, note,
    el("div", { class: "tiles" }, [...figures].map(([state, figure]) =>
      el("a", { class: "tile", href: address(["tasks"], { state }), data: { state } }, figure, el("span", null, state)))));
}

/** @type {import("./router.js").Page} */
export function overviewPage({ root, signal, title }) {
  title("Overview");
  fill(root,
    el("div", { class: "row head" }, el("h1", { class: "grow" }, "Overview"),
      may("write") && el("a", { class: "button primary", href: "#/submit" }, "Submit a task")),
    tiles(signal),
    rateCurve(signal),
    workerList(signal),
    planeList(signal),
    el("section", { "aria-labelledby": "groups-title" },
      el("div", { class: "row" }, el("h2", { id: "groups-title", class: "grow" }, "Groups"), el("a", { href: "#/groups" }, "All groups")),
      groupTable({ signal, limit: 8 })));
}
