// The page of one task: what it is, how it goes, its output, and what can be done with it.

import { at, get } from "./api.js";
import { attemptCard } from "./attempt.js";
import { onChanges } from "./changes.js";
import { definition } from "./definition.js";
import { deliveryList } from "./deliveries.js";
import { el, fill, setText } from "./element.js";
import { shortId, workText } from "./format.js";
import { showCall } from "./functioncall.js";
import { eventList, stateBar } from "./history.js";
import { icon } from "./icon.js";
import { LogViewer } from "./logviewer.js";
import { attempt as tryTo } from "./notice.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { every, throttled } from "./pulse.js";
import { address } from "./router.js";
import { badge, ENDED, reasonText, setBadge } from "./state.js";
import { taskActions } from "./taskactions.js";
import { showWhy } from "./why.js";

const REFRESH_MS = 250;
const LOOK_MS = 3000;
const EVENTS = 500;

/** @type {import("./router.js").Page} */
export function taskPage({ root, params, signal, title }) {
  const [id] = params;
  title("Task");
  /** @type {any} */
  let task = null;
  /** Number of the attempt the reader chose; the latest when null. @type {number | null} */
  let chosen = null;
  let gone = false;
  const logs = new LogViewer(id, signal);
  const heading = el("h1", { class: "clip" }, "Task");
  const state = badge("unknown");
  state.hidden = true;
  const message = el("p", { class: "message", hidden: true });
  const actions = el("div", { class: "actions" });
  const why = el("section", { class: "card why", hidden: true, "aria-live": "polite" });
  const attempts = el("ul", { class: "cards one" });
  const noAttempts = el("p", { class: "empty" });
  const tryArea = el("section", { "aria-labelledby": "attempts-title", hidden: true }, el("h2", { id: "attempts-title" }, "Attempts"), attempts);
  const history = el("div");
  const about = el("div");
  const hooks = el("section", { hidden: true });
  const note = el("div");
  const callArea = el("section", { class: "card stack", hidden: true });
  const columns = el("div", { class: "columns", hidden: true },
    el("div", { class: "stack" },
      callArea,
      el("section", { "aria-labelledby": "output-title" }, el("h2", { id: "output-title" }, "Output"), noAttempts, logs.node),
      tryArea, hooks),
    el("div", { class: "stack" },
      el("section", { class: "card", "aria-labelledby": "about-title" }, el("h2", { id: "about-title" }, "Definition"), about),
      el("section", { class: "card", "aria-labelledby": "history-title" }, el("h2", { id: "history-title" }, "History"), history)));
  const copy = () => tryTo("The id was not copied", async () => {
    await navigator.clipboard.writeText(id);
    return "The id is copied";
  });

  const draw = (/** @type {any} */ fresh, /** @type {any[]} */ tries, /** @type {any} */ events) => {
    const changed = JSON.stringify(task) !== JSON.stringify(fresh);
    task = fresh;
    const name = task.name || workText(task).slice(0, 120) || shortId(id);
    setText(heading, name);
    title(name);
    setBadge(state, task.state);
    state.hidden = columns.hidden = false;
    const text = task.kill_requested_at && !ENDED.has(task.state) ? "Being killed …" : task.message ?? reasonText(task.reason);
    setText(message, text);
    message.hidden = !text;
    message.classList.toggle("bad", ["failed", "dead", "expired"].includes(task.state));
    if (changed) {
      fill(actions, taskActions(task, refresh), task.cron && el("a", { class: "button", href: address(["tasks"], { schedule: id }) }, "Firings"));
      fill(about, definition(task));
    }
    fill(history, stateBar(events.items, task), eventList(events.items, events.next_cursor !== null));
    const last = tries.at(-1)?.number ?? null;
    const shown = tries.some((one) => one.number === chosen) ? chosen : last;
    fill(attempts, [...tries].reverse().map((one) => attemptCard(one, { shown: one.number === shown, onShow: () => { chosen = one.number; refresh(); } })));
    noAttempts.hidden = tries.length > 0;
    noAttempts.textContent = task.cron ? "Each firing is a task of its own, with its own output." : "No attempt yet. Output appears here as soon as one begins.";
    tryArea.hidden = tries.length === 0;
    logs.node.hidden = shown === null;
    if (shown !== null) void logs.show(shown);
  };

  const load = async () => {
    try {
      const [fresh, tries, events] = await Promise.all([
        get(at`/tasks/${id}`, {}, signal), get(at`/tasks/${id}/attempts`, {}, signal), get(at`/tasks/${id}/events`, { limit: EVENTS }, signal),
      ]);
      fill(note);
      draw(fresh, tries.items, events);
      void showWhy(why, fresh, signal);
      void showCall(callArea, fresh, signal);
      if (fresh.webhooks?.length > 0) void loadHooks();
    } catch (error) {
      if (isAbort(error)) return;
      const problem = asProblem(error);
      if (problem.status === 404) {
        // Nothing of it is left to show, nor to wait for.
        gone = true;
        setText(heading, "Unknown task");
        title("Unknown task");
        state.hidden = columns.hidden = why.hidden = message.hidden = true;
        fill(actions);
      }
      fill(note, problemBox("The task could not be loaded", problem, load));
    }
  };
  const loadHooks = async () => {
    try {
      const { items } = await get(at`/tasks/${id}/webhooks`, {}, signal);
      hooks.hidden = items.length === 0;
      fill(hooks, el("h2", null, "Webhook deliveries"), deliveryList(items, { reload: refresh, withTask: false }));
    } catch (error) {
      if (isAbort(error)) return;
      hooks.hidden = false;
      fill(hooks, el("h2", null, "Webhook deliveries"), problemBox("The deliveries could not be loaded", asProblem(error), loadHooks));
    }
  };
  const refresh = throttled(REFRESH_MS, load, signal);
  onChanges((batch, gap) => {
    if (gap || batch.some((change) => change.task_id === id)) refresh();
  }, signal);
  // Why a task waits changes without the task changing; a running one's usage does, too.
  every(LOOK_MS, () => { if (!gone && (!task || !ENDED.has(task.state))) refresh(); }, signal);

  fill(root,
    el("div", { class: "titles" },
      el("a", { class: "row", href: "#/tasks" }, icon("back"), "Tasks"),
      el("div", { class: "row head wrap" }, heading, state, el("span", { class: "grow" }), actions),
      el("p", { class: "dim idline" }, el("code", null, id),
        el("button", { type: "button", class: "bare tiny", "aria-label": "Copy the id", title: "Copy the id", onclick: copy }, icon("copy")))),
    message, note, why, columns);
  refresh();
}
