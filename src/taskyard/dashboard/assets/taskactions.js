// What can be done with one task.

import { at, call } from "./api.js";
import { ask } from "./dialog.js";
import { el } from "./element.js";
import { icon } from "./icon.js";
import { attempt, notice } from "./notice.js";
import { address, go } from "./router.js";
import { may } from "./session.js";
import { ENDED, RETRYABLE, WAITING } from "./state.js";
import { canCopy } from "./taskcopy.js";

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL"];

/** @param {any} task @param {() => void} reload */
async function kill(task, reload) {
  await ask({
    title: "Kill this task?",
    text: "The signal asks it to end; whatever is left of its processes after the grace is killed outright.",
    fields: [
      { name: "signal", label: "Signal", kind: "select", value: task.kill?.signal ?? "SIGTERM", options: [...new Set([task.kill?.signal ?? "SIGTERM", ...SIGNALS])].map((one) => [one, one]) },
      { name: "grace_s", label: "Grace in seconds", kind: "number", value: task.kill?.grace_s ?? 10, hint: "0 kills at once" },
    ],
    action: "Kill", danger: true,
    run: async (values) => {
      await call("POST", at`/tasks/${task.id}/cancel`, { body: { signal: values.signal, grace_s: values.grace_s ?? 0 } });
      notice("The kill is under way; its proof will stand with the attempt");
    },
  });
  reload();
}

/** @param {any} task @param {() => void} reload */
async function cancel(task, reload) {
  await ask({
    title: task.cron ? "End this schedule?" : "Cancel this task?",
    text: task.cron ? "It will not fire again. Firings that exist already go on." : "It will not start any more.",
    action: task.cron ? "End it" : "Cancel it", danger: true,
    run: async () => {
      await call("POST", at`/tasks/${task.id}/cancel`);
      notice(task.cron ? "The schedule has ended" : "The task is cancelled");
    },
  });
  reload();
}

/** @param {any} task @param {() => void} reload */
export async function reschedule(task, reload) {
  await ask({
    title: task.cron ? "Change the schedule" : "Change the start",
    fields: task.cron ? [
      { name: "cron", label: "Cron expression", value: task.cron, hint: "minute hour day month weekday" },
      { name: "timezone", label: "Time zone", value: task.timezone, hint: "IANA name, such as Europe/Berlin" },
      { name: "catch_up", label: "Firings missed while down", kind: "select", value: task.catch_up, options: [["none", "forget them"], ["one", "one for all"], ["all", "every one"]] },
    ] : [{ name: "start_in_s", label: "Start in (seconds)", kind: "number", value: 0, hint: "0 makes it ready at once", wide: "wide" }],
    action: "Change",
    run: async (values) => {
      await call("PATCH", at`/tasks/${task.id}`, { body: values });
      notice("Changed");
    },
  });
  reload();
}

/**
 * Buttons for what the task's state and the reader's role allow.
 * @param {any} task
 * @param {() => void} reload
 */
export function taskActions(task, reload) {
  if (!may("write")) return [];
  const waits = WAITING.has(task.state);
  const button = (/** @type {string} */ picture, /** @type {string} */ words, /** @type {() => void} */ onclick, look = "") =>
    el("button", { type: "button", class: look, onclick }, icon(picture), words);
  const priority = () => ask({
    title: "Change the priority",
    fields: [{ name: "priority", label: "Priority", kind: "number", value: task.priority, hint: "-100 to 100, higher first", wide: "wide" }],
    action: "Change",
    run: async (values) => {
      await call("PATCH", at`/tasks/${task.id}`, { body: { priority: values.priority } });
      notice("The priority is changed");
    },
  }).then(reload);
  const retry = () => attempt("The task was not submitted again", async () => {
    const again = await call("POST", at`/tasks/${task.id}/retry`);
    go(address(["tasks", again.id]));
    return "Submitted again; this is the new task";
  });
  const remove = () => ask({
    title: "Delete this task?",
    text: "Its history and output go with it. This cannot be undone.",
    action: "Delete it", danger: true,
    run: async () => {
      await call("DELETE", at`/tasks/${task.id}`);
      notice("The task is deleted");
      go("#/tasks");
    },
  });
  return [
    waits && button("schedules", task.cron ? "Schedule" : "Start", () => void reschedule(task, reload)),
    waits && button("up", "Priority", () => void priority()),
    RETRYABLE.has(task.state) && button("retry", "Retry", () => void retry(), "primary"),
    canCopy(task) && el("a", { class: "button", href: address(["submit"], { from: task.id }) }, icon("copy"), "Submit another"),
    waits && button("stop", task.cron ? "End" : "Cancel", () => void cancel(task, reload), "danger"),
    task.state === "running" && button("stop", "Kill", () => void kill(task, reload), "danger"),
    ENDED.has(task.state) && button("trash", "Delete", () => void remove(), "danger"),
  ];
}
