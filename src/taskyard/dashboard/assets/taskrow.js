// One row of a list of tasks. Rows are kept and changed in place, so that focus, selection and
// scroll position outlive every refresh.

import { el, fill, setText } from "./element.js";
import { clock, duration, relative, shortId, workText } from "./format.js";
import { address } from "./router.js";
import { badge, ENDED, reasonText, setBadge } from "./state.js";

/** Heads of the columns. */
export const COLUMNS = ["", "State", "Task", "Group", "Attempts", "Created", "Took"];

/** A row and the task it shows. */
export class TaskRow {
  /**
   * @param {any} task
   * @param {() => void} onSelect
   */
  constructor(task, onSelect) {
    this.box = el("input", { type: "checkbox", "aria-label": `Select task ${task.id}`, onchange: onSelect });
    this.badge = badge(task.state);
    this.reason = el("span", { class: "dim clip" });
    this.link = el("a", { class: "strong clip", href: address(["tasks", task.id]) });
    this.command = el("code", { class: "clip" });
    this.group = el("a", { class: "clip" });
    this.attempts = el("span");
    this.created = el("time", { data: { relative: "" } });
    this.took = el("span");
    this.node = el("tr", { data: { id: task.id } },
      el("td", { class: "tick" }, this.box),
      el("td", { class: "statecell" }, this.badge, this.reason),
      el("td", { class: "taskcell" }, this.link, this.command),
      el("td", { class: "groupcell" }, this.group),
      el("td", { class: "num attemptcell" }, this.attempts),
      el("td", { class: "timecell" }, this.created),
      el("td", { class: "num tookcell" }, this.took));
    this.update(task);
  }

  /** @param {any} task the same task, as it is now */
  update(task) {
    this.task = task;
    this.setState(task.state);
    setText(this.reason, task.state === "succeeded" ? "" : reasonText(task.reason));
    this.reason.title = task.message ?? "";
    const command = workText(task);
    setText(this.link, task.name || shortId(task.id));
    this.link.title = task.id;
    setText(this.command, command.slice(0, 300));
    setText(this.group, task.group);
    this.group.href = address(["tasks"], { group: task.group });
    const most = task.retry?.max_attempts ?? 1;
    setText(this.attempts, most > 1 ? `${task.attempt_count} of ${most}` : String(task.attempt_count));
    this.created.dateTime = task.created_at;
    this.created.title = clock(task.created_at);
    setText(this.created, relative(task.created_at));
    setText(this.took, typeof task.ran_s === "number" ? duration(task.ran_s) : "");
  }

  /** @param {string} state as a change told, before the task itself was fetched again */
  setState(state) {
    setBadge(this.badge, state);
    this.node.classList.toggle("ended", ENDED.has(state));
    if (this.task.state !== state) this.task = { ...this.task, state };
  }
}

/**
 * Make a table body show these rows in this order, moving as little as possible.
 * @param {HTMLElement} body
 * @param {HTMLElement[]} nodes
 */
export function arrange(body, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...body.children]) if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove();
  let place = body.firstElementChild;
  for (const node of nodes) {
    if (node === place) place = place.nextElementSibling;
    else body.insertBefore(node, place);
  }
}

/** The head of the table. @param {any} all the box that selects every row */
export function tableHead(all) {
  const head = el("tr");
  fill(head, COLUMNS.map((words, i) => i === 0 ? el("th", { scope: "col", class: "tick" }, all)
    : el("th", { scope: "col", class: ["Attempts", "Took"].includes(words) ? "num" : null }, words)));
  return el("thead", null, head);
}
