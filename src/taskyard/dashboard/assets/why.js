// Why a task waits, or the story of how it went.

import { at, get } from "./api.js";
import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { advice, asProblem, isAbort } from "./problem.js";
import { WAITING } from "./state.js";

/** What somebody can do about a reason to wait. @type {Record<string, {words: string, link?: [string, string]}>} */
const ADVICE = {
  group_paused: { words: "Resume the group to let it start.", link: ["#/groups", "Groups"] },
  group_limit: { words: "It starts when another task of the group ends, or when the limit is raised.", link: ["#/groups", "Groups"] },
  workspace_limit: { words: "It starts when another task of the workspace ends, or when the limit is raised.", link: ["#/groups", "Limits"] },
  no_worker: { words: "Start a worker, or a worker that can run this kind of task.", link: ["#/", "Workers"] },
  leaving: { words: "It starts when a worker joins that stays for as long as it may run.", link: ["#/", "Workers"] },
  no_room: { words: "It starts when a worker has that much room; a task that asks for more than any worker has waits forever.", link: ["#/", "Workers"] },
};

/**
 * Fill a panel with the answer.
 * @param {HTMLElement} panel
 * @param {any} task
 * @param {AbortSignal} signal
 */
export async function showWhy(panel, task, signal) {
  try {
    const why = await get(at`/tasks/${task.id}/why`, {}, signal);
    const waits = WAITING.has(task.state);
    const more = ADVICE[why.code];
    panel.classList.toggle("waiting", waits && !task.cron);
    fill(panel,
      el("h2", { class: "row" }, icon(waits ? "schedules" : "audit"), task.cron && waits ? "When it fires" : waits ? "Why it waits" : task.state === "running" ? "Where it stands" : "What happened"),
      el("p", { class: "summary" }, why.summary),
      waits && more && el("p", { class: "dim" }, more.words, " ", more.link && el("a", { href: more.link[0] }, more.link[1])),
      waits && why.ahead > 0 && !why.summary.includes("ahead") && el("p", { class: "dim" }, `${why.ahead.toLocaleString("en")} ahead of it`),
      why.story?.length > 0 && el("ul", { class: "story" }, why.story.map((/** @type {string} */ line) => el("li", null, line))));
    panel.hidden = false;
  } catch (error) {
    if (isAbort(error)) return;
    const problem = asProblem(error);
    fill(panel, el("p", { class: "dim" }, `Why could not be asked: ${problem.message}. ${advice(problem)}`));
    panel.hidden = false;
  }
}
