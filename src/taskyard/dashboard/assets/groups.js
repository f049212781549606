// Groups: their counts, pausing them, and how many of their tasks may run at once.

import { at, call, get } from "./api.js";
import { onChanges } from "./changes.js";
import { ask } from "./dialog.js";
import { el, fill } from "./element.js";
import { attempt } from "./notice.js";
import { Pager } from "./pager.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { throttled } from "./pulse.js";
import { address } from "./router.js";
import { may } from "./session.js";
import { STATES } from "./state.js";

const REFRESH_MS = 2000;

/** @param {Record<string, number>} counts @param {string} group */
export function countBadges(counts, group) {
  const present = STATES.filter((state) => counts?.[state]);
  if (present.length === 0) return el("span", { class: "dim" }, "no tasks");
  return present.map((state) => el("a", { class: "badge", data: { state }, href: address(["tasks"], { state, group }), title: `${state} tasks of ${group}` },
    `${counts[state].toLocaleString("en")} ${state}`));
}

/**
 * Ask for a limit and set it.
 * @param {string} title
 * @param {number | null} present
 * @param {string} path of the group or the workspace
 */
async function askLimit(title, present, path) {
  return ask({
    title,
    text: "Attempts that may run at the same time. Empty for no limit.",
    fields: [{ name: "concurrency_limit", label: "Limit", kind: "number", value: present, wide: "wide" }],
    action: "Set",
    run: async (values) => {
      await call("PATCH", path, { body: { concurrency_limit: values.concurrency_limit } });
    },
  });
}

/** @param {any} group @param {() => void} reload */
function row(group, reload) {
  const turn = () => attempt(`Group ${group.name} was not changed`, async () => {
    await call("POST", group.paused ? at`/groups/${group.name}/resume` : at`/groups/${group.name}/pause`);
    reload();
    return group.paused ? `Group ${group.name} goes on` : `Group ${group.name} is paused: what runs goes on, nothing new starts`;
  });
  const limit = async () => {
    if (await askLimit(`Limit of group ${group.name}`, group.concurrency_limit, at`/groups/${group.name}`)) reload();
  };
  return el("tr", null,
    el("td", { data: { label: "Group" } }, el("a", { class: "strong clip", href: address(["tasks"], { group: group.name }) }, group.name)),
    el("td", { data: { label: "State" } }, el("span", { class: "badge", data: { state: group.paused ? "paused" : "open" } }, group.paused ? "paused" : "open")),
    el("td", { data: { label: "Limit" }, class: "num" }, group.concurrency_limit ?? el("span", { class: "dim" }, "none")),
    el("td", { data: { label: "Tasks" } }, el("div", { class: "badges" }, countBadges(group.counts, group.name))),
    may("operate") && el("td", { class: "buttons" },
      el("button", { type: "button", class: "small", onclick: turn, "aria-label": `${group.paused ? "Resume" : "Pause"} group ${group.name}` }, group.paused ? "Resume" : "Pause"),
      el("button", { type: "button", class: "small", onclick: limit, "aria-label": `Limit of group ${group.name}` }, "Limit")));
}

/**
 * The groups as a table that follows the changes.
 * @param {{signal: AbortSignal, limit: number, paged?: boolean}} options
 * @returns {HTMLElement}
 */
export function groupTable({ signal, limit, paged = false }) {
  const body = el("tbody");
  const note = el("div");
  const table = el("table", { class: "list", hidden: true },
    el("thead", null, el("tr", null, ["Group", "State", "Limit", "Tasks"].map((words) => el("th", { scope: "col", class: words === "Limit" ? "num" : null }, words)),
      may("operate") && el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")))), body);
  const load = async () => {
    try {
      const page = await get("/groups", { limit, cursor: pager.cursor }, signal);
      pager.loaded(page.next_cursor);
      table.hidden = page.items.length === 0;
      fill(note, page.items.length === 0 && el("p", { class: "empty" }, "No groups yet. A group exists once a task is filed under its name."));
      const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
      fill(body, page.items.map((/** @type {any} */ group) => row(group, load)));
      if (focused) [...body.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === focused)?.focus();
    } catch (error) {
      table.hidden = body.childElementCount === 0;
      if (!isAbort(error)) fill(note, problemBox("The groups could not be loaded", asProblem(error), load));
    }
  };
  const pager = new Pager(load, { back: "Previous", forth: "Next" });
  onChanges(throttled(REFRESH_MS, load, signal), signal);
  void load();
  return el("div", null, note, el("div", { class: "card flush" }, table), paged && pager.node);
}

/** @type {import("./router.js").Page} */
export function groupsPage({ root, signal, title }) {
  title("Groups");
  const whole = el("section", { class: "card row" });
  const loadWorkspace = async () => {
    try {
      const workspace = await get("/workspace", {}, signal);
      const limit = async () => {
        if (await askLimit(`Limit of workspace ${workspace.name}`, workspace.concurrency_limit, "/workspace")) void loadWorkspace();
      };
      fill(whole, el("div", { class: "grow" }, el("h2", null, `Workspace ${workspace.name}`),
        el("p", { class: "dim" }, workspace.concurrency_limit === null ? "No limit of its own: workers and groups decide." : `At most ${workspace.concurrency_limit} attempts at once, over all groups.`)),
      may("admin") && el("button", { type: "button", onclick: limit }, "Change limit"));
    } catch (error) {
      if (!isAbort(error)) fill(whole, problemBox("The workspace could not be loaded", asProblem(error), loadWorkspace));
    }
  };
  void loadWorkspace();
  onChanges((_, gap) => { if (gap) void loadWorkspace(); }, signal);
  fill(root, el("h1", null, "Groups"), whole, groupTable({ signal, limit: 100, paged: true }));
}
