// Recurring tasks, and tasks that wait for their time.

import { at, call, get } from "./api.js";
import { onChanges } from "./changes.js";
import { ask } from "./dialog.js";
import { el, fill } from "./element.js";
import { commandText, shortId, timeElement } from "./format.js";
import { Pager } from "./pager.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { throttled } from "./pulse.js";
import { address } from "./router.js";
import { may } from "./session.js";
import { reschedule } from "./taskactions.js";

const PAGE = 200;
const REFRESH_MS = 2000;

/** @param {any} task @param {() => void} reload */
function row(task, reload) {
  return el("tr", null,
    el("td", { data: { label: "Task" }, class: "taskcell" }, el("a", { class: "strong clip", href: address(["tasks", task.id]) }, task.name || shortId(task.id)), el("code", { class: "clip" }, commandText(task.command).slice(0, 300))),
    el("td", { data: { label: "Group" } }, el("a", { class: "clip", href: address(["tasks"], { group: task.group }) }, task.group)),
    el("td", { data: { label: "Rule" } }, task.cron ? [el("code", null, task.cron), el("span", { class: "dim" }, ` ${task.timezone}`)] : el("span", { class: "dim" }, "once")),
    el("td", { data: { label: "Next" } }, timeElement(task.start_at)),
    el("td", { class: "buttons" },
      task.cron && el("a", { class: "button small", href: address(["tasks"], { schedule: task.id }) }, "Firings"),
      may("write") && el("button", { type: "button", class: "small", "aria-label": `Change ${task.name || task.id}`, onclick: () => void reschedule(task, reload) }, "Change")));
}

/** A job of another dialect: no task until it starts. @param {any} job @param {() => void} reload */
function jobRow(job, reload) {
  const cancel = () => ask({
    title: "Cancel this job?", text: "It starts no more. If it runs now, it is killed.", action: "Cancel it", danger: true,
    run: async () => {
      await call("POST", at`/jobs/${job.id}/cancel`, { query: { group: job.group } });
      reload();
    },
  });
  return el("tr", null,
    el("td", { data: { label: "Job" }, class: "taskcell" }, el("a", { class: "strong clip", href: address(["tasks"], { label: `job:${job.id}` }) }, job.id),
      el("code", { class: "clip" }, `[${job.image}] ${commandText(job.command)}`.slice(0, 300))),
    el("td", { data: { label: "Group" } }, el("a", { class: "clip", href: address(["tasks"], { group: job.group }) }, job.group)),
    el("td", { data: { label: "Rule" } }, job.cron ? el("code", null, job.cron) : el("span", { class: "dim" }, "once")),
    el("td", { data: { label: "Next" } }, timeElement(job.next_at)),
    el("td", { class: "buttons" }, may("write") && el("button", { type: "button", class: "small", "aria-label": `Cancel job ${job.id}`, onclick: cancel }, "Cancel")));
}

/** @type {import("./router.js").Page} */
export function schedulesPage({ root, signal, title }) {
  title("Schedules");
  const note = el("div");
  const place = el("div", { class: "stack" });
  const load = async () => {
    try {
      const [page, jobs] = await Promise.all([
        get("/tasks", { state: "scheduled", limit: PAGE, cursor: pager.cursor }, signal), get("/jobs", {}, signal),
      ]);
      pager.loaded(page.next_cursor);
      const recurring = page.items.filter((/** @type {any} */ task) => task.cron);
      const once = page.items.filter((/** @type {any} */ task) => !task.cron);
      fill(note, page.items.length === 0 && jobs.items.length === 0 && el("div", { class: "empty" }, el("p", null, "Nothing is scheduled. A task with a cron rule recurs; one with a start time waits for it."),
        may("write") && el("a", { class: "button primary", href: "#/submit" }, "Submit a task")));
      fill(place, section("Recurring", recurring), section("Once, later", once),
        section("Jobs of fastlane", jobs.items, "Job", jobRow));
    } catch (error) {
      if (!isAbort(error)) fill(note, problemBox("The schedules could not be loaded", asProblem(error), load));
    }
  };
  /** @param {string} words @param {any[]} tasks */
  const section = (words, tasks, what = "Task", draw = row) => tasks.length > 0 && el("section", null, el("h2", null, words),
    el("div", { class: "card flush" }, el("table", { class: "list" },
      el("thead", null, el("tr", null, [what, "Group", "Rule", "Next"].map((head) => el("th", { scope: "col" }, head)), el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")))),
      el("tbody", null, tasks.map((task) => draw(task, refresh))))));
  const pager = new Pager(load, { back: "Newer", forth: "Older" });
  const refresh = throttled(REFRESH_MS, load, signal);
  onChanges((batch, gap) => {
    if (gap || batch.some((change) => change.state === "scheduled" || change.was === "scheduled")) refresh();
  }, signal);
  fill(root, el("h1", null, "Schedules"), note, place, pager.node);
  refresh();
}
