// Control planes, and which of them leads; nothing at all where there is only one, on SQLite.

import { get } from "./api.js";
import { el, fill } from "./element.js";
import { timeElement } from "./format.js";
import { icon } from "./icon.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { every } from "./pulse.js";

const LOOK_MS = 3000;

/**
 * @param {any} plane
 * @param {any} cluster
 */
function row(plane, cluster) {
  const name = plane.id === cluster.plane ? [plane.id, el("span", { class: "dim" }, " (answers here)")] : plane.id;
  const cells = [
    ["Control plane", name],
    ["State", el("span", { class: "badge", data: { state: plane.state } }, plane.state)],
    ["Address", plane.address],
    ["Machine", plane.name],
    ["Version", plane.version],
    ["Last heard", timeElement(plane.beat_at)],
  ];
  return el("tr", null, cells.map(([label, what]) => el("td", { data: { label } }, what)));
}

/**
 * What is wrong, in words.
 * @param {any} cluster
 */
function troubles(cluster) {
  return [
    !cluster.hears_changes && "This control plane is cut off from the database: it answers what it knows, and stores nothing. What is shown here is as it was before.",
    cluster.hears_changes && cluster.leader === null && "No control plane leads at the moment: tasks are stored and wait. One takes over within 5 seconds.",
    !cluster.hears_messages && "This control plane is cut off from NATS: orders to workers beside other control planes wait.",
  ].filter(Boolean);
}

/**
 * The control planes; looks again every few seconds. Hidden until there are any.
 * @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function planeList(signal) {
  const note = el("div", { class: "planes" });
  const body = el("tbody");
  const lead = el("p", { class: "dim" });
  const heads = ["Control plane", "State", "Address", "Machine", "Version", "Last heard"];
  const section = el("section", { class: "planes", "aria-labelledby": "planes-title", hidden: true },
    el("h2", { id: "planes-title" }, "Control planes"), note,
    el("div", { class: "card flush" }, el("table", { class: "list" }, el("thead", null, el("tr", null, heads.map((one) => el("th", { scope: "col" }, one)))), body)), lead);
  const alone = new AbortController();
  const look = async () => {
    try {
      const cluster = await get("/cluster", {}, signal);
      // On SQLite there will be no others while this server runs.
      if (cluster.plane === null) return alone.abort();
      section.hidden = false;
      fill(note, troubles(cluster).map((text) => el("p", { class: "problem", role: "status" }, icon("warn"), text)));
      fill(body, cluster.planes.map((/** @type {any} */ plane) => row(plane, cluster)));
      fill(lead, cluster.leader !== null && `${cluster.leader} leads, in term ${cluster.term}.`);
    } catch (error) {
      // Without planes there is nothing to miss: other lists say that the server does not answer.
      if (!isAbort(error) && !section.hidden) fill(note, problemBox("The control planes could not be loaded", asProblem(error), look));
    }
  };
  every(LOOK_MS, look, AbortSignal.any([signal, alone.signal]));
  return section;
}
