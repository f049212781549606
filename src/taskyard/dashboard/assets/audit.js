// Who changed what, and who was refused.

import { get } from "./api.js";
import { el, fill } from "./element.js";
import { timeElement } from "./format.js";
import { Pager } from "./pager.js";
import { asProblem, isAbort, problemBox } from "./problem.js";

const PAGE = 100;

/** @param {any} entry */
function row(entry) {
  return el("tr", null,
    el("td", { data: { label: "When" } }, timeElement(entry.at)),
    el("td", { data: { label: "Who" } }, el("strong", null, entry.actor), entry.address && el("span", { class: "dim" }, ` ${entry.address}`)),
    el("td", { data: { label: "What" } }, el("code", null, entry.action)),
    el("td", { data: { label: "On" } }, el("span", { class: "clip", title: entry.target }, entry.target ?? "–")),
    el("td", { data: { label: "Outcome" } }, el("span", { class: "badge", data: { state: entry.outcome === "refused" ? "failed" : "succeeded" } }, entry.outcome), entry.detail && el("span", { class: "dim" }, ` ${entry.detail}`)));
}

/** @type {import("./router.js").Page} */
export function auditPage({ root, signal, title }) {
  title("Audit");
  const note = el("div");
  const body = el("tbody");
  const load = async () => {
    try {
      const page = await get("/audit", { limit: PAGE, cursor: pager.cursor }, signal);
      pager.loaded(page.next_cursor);
      table.hidden = page.items.length === 0;
      fill(note, page.items.length === 0 && el("p", { class: "empty" }, "Nothing yet."));
      fill(body, page.items.map(row));
    } catch (error) {
      if (!isAbort(error)) fill(note, problemBox("The audit trail could not be loaded", asProblem(error), load));
    }
  };
  const pager = new Pager(load, { back: "Newer", forth: "Older" });
  const table = el("div", { class: "card flush", hidden: true }, el("table", { class: "list" },
    el("thead", null, el("tr", null, ["When", "Who", "What", "On", "Outcome"].map((head) => el("th", { scope: "col" }, head)))), body));
  fill(root, el("div", { class: "row head" }, el("h1", { class: "grow" }, "Audit"), el("button", { type: "button", onclick: load }, "Refresh")), note,
    table, pager.node);
  void load();
}
