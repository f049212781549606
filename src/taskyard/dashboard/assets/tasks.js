// The list of tasks: filtered, page by page, live.

import { get } from "./api.js";
import { bulkBar } from "./bulk.js";
import { onChanges } from "./changes.js";
import { el, fill } from "./element.js";
import { filterBar, taskQuery } from "./filters.js";
import { Pager } from "./pager.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { throttled } from "./pulse.js";
import { address, amend } from "./router.js";
import { may } from "./session.js";
import { isTaken } from "./shortcuts.js";
import { arrange, tableHead, TaskRow } from "./taskrow.js";

const PAGE = 50;
const REFRESH_MS = 1000;

/** @type {import("./router.js").Page} */
export function tasksPage({ root, query, signal, title }) {
  title("Tasks");
  /** Rows on the page, in order. @type {Map<string, TaskRow>} */
  let rows = new Map();
  let asked = 0;
  const note = el("div");
  const body = el("tbody");
  const all = el("input", { type: "checkbox", "aria-label": "Select all tasks on this page", onchange: () => selectAll(all.checked) });
  const table = el("table", { class: "list tasks", "aria-label": "Tasks" }, tableHead(all), body);
  const bulk = bulkBar({ selected: () => chosen().map((row) => row.task), after: () => { selectAll(false); refresh(); } });
  const filters = filterBar(query, () => {
    amend(address(["tasks"], query));
    pager.reset();
    void load();
  });
  const pager = new Pager(() => { selectAll(false); void load(); window.scrollTo(0, 0); }, { back: "Newer", forth: "Older" });
  const refresh = throttled(REFRESH_MS, load, signal);

  const chosen = () => [...rows.values()].filter((row) => row.box.checked);
  const onSelect = () => {
    const count = chosen().length;
    all.checked = count > 0 && count === rows.size;
    all.indeterminate = count > 0 && count < rows.size;
    bulk.update();
  };
  /** @param {boolean} on */
  const selectAll = (on) => {
    for (const row of rows.values()) row.box.checked = on;
    onSelect();
  };

  async function load() {
    asked += 1;
    const mine = asked;
    try {
      const [page, counts] = await Promise.all([
        get("/tasks", { ...taskQuery(query), limit: PAGE, cursor: pager.cursor }, signal),
        get("/tasks/counts", { group: query.get("group") }, signal),
      ]);
      if (mine !== asked) return; // a later answer is on its way
      filters.setCounts(counts.counts);
      pager.loaded(page.next_cursor);
      show(page.items);
    } catch (error) {
      if (!isAbort(error) && mine === asked) fill(note, problemBox("The tasks could not be loaded", asProblem(error), load));
    }
  }

  /** @param {any[]} tasks */
  function show(tasks) {
    const old = rows;
    rows = new Map(tasks.map((task) => {
      const row = old.get(task.id);
      row?.update(task);
      return [task.id, row ?? new TaskRow(task, onSelect)];
    }));
    arrange(body, [...rows.values()].map((row) => row.node));
    table.parentElement.hidden = rows.size === 0;
    const filtered = [...query.keys()].length > 0;
    fill(note, rows.size === 0 && el("div", { class: "empty" },
      el("p", null, filtered ? "No task matches these filters." : "No tasks yet."),
      !filtered && may("write") && el("a", { class: "button primary", href: "#/submit" }, "Submit the first one")));
    onSelect();
  }

  onChanges((batch, gap) => {
    let stale = gap;
    for (const change of batch) {
      const row = rows.get(change.task_id);
      if (row) row.setState(change.state);
      // A new task can only appear on the first page; a known one may have left the filter.
      if (row || pager.first) stale = true;
    }
    if (stale) refresh();
  }, signal);

  document.addEventListener("keydown", (event) => {
    if (isTaken(event)) return;
    const list = [...rows.values()];
    const present = list.findIndex((row) => row.node.contains(document.activeElement));
    if (event.key === "j" || event.key === "k") {
      const next = event.key === "j" ? Math.min(list.length - 1, present + 1) : Math.max(0, present - 1);
      list[next]?.link.focus();
      list[next]?.node.scrollIntoView({ block: "nearest" });
    } else if (event.key === "x" && present >= 0) {
      list[present].box.checked = !list[present].box.checked;
      onSelect();
    } else if (event.key === "/") {
      document.getElementById("filter-text")?.focus();
    } else return;
    event.preventDefault();
  }, { signal });

  const schedule = query.get("schedule");
  fill(root,
    el("div", { class: "row head" }, el("h1", { class: "grow" }, schedule ? "Firings" : "Tasks"),
      may("write") && el("a", { class: "button primary", href: "#/submit" }, "Submit a task")),
    schedule && el("p", { class: "dim" }, "Firings of ", el("a", { href: address(["tasks", schedule]) }, schedule)),
    filters.node, note, el("div", { class: "card flush", hidden: true }, table), pager.node, bulk.node);
  void load();
}
