// What can be done with many selected tasks at once.

import { at, call } from "./api.js";
import { ask } from "./dialog.js";
import { el, fill } from "./element.js";
import { many } from "./format.js";
import { icon } from "./icon.js";
import { attempt, notice } from "./notice.js";
import { asProblem } from "./problem.js";
import { may } from "./session.js";
import { ENDED, RETRYABLE } from "./state.js";

const AT_ONCE = 6;

/**
 * Do something for each task, a few at a time; says how many failed and why the first did.
 * @param {any[]} tasks
 * @param {(task: any) => Promise<any>} work
 * @param {string} done such as "retried"
 */
async function each(tasks, work, done) {
  const queue = [...tasks];
  let good = 0;
  /** @type {import("./problem.js").Problem[]} */
  const problems = [];
  const lane = async () => {
    for (let task = queue.shift(); task; task = queue.shift()) {
      try {
        await work(task);
        good += 1;
      } catch (error) {
        problems.push(asProblem(error));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  if (good > 0) notice(`${many(good, "task")} ${done}`);
  if (problems.length > 0) notice(`${many(problems.length, "task")} not ${done}: ${problems[0].message}`, "bad");
}

/**
 * The bar that appears once something is selected.
 * @param {{selected: () => any[], after: () => void}} options
 * @returns {{node: HTMLElement, update: () => void}}
 */
export function bulkBar({ selected, after }) {
  const count = el("strong", { class: "grow", role: "status" });
  const cancel = el("button", { type: "button", class: "small", onclick: onCancel }, icon("stop"), "Cancel");
  const retry = el("button", { type: "button", class: "small", onclick: onRetry }, icon("retry"), "Retry");
  const remove = el("button", { type: "button", class: "small danger", onclick: onDelete }, icon("trash"), "Delete");
  const node = el("div", { class: "bulk card row", hidden: true });
  fill(node, count, cancel, retry, remove);

  async function onCancel() {
    const ids = selected().filter((task) => !ENDED.has(task.state)).map((task) => task.id);
    await ask({
      title: `Cancel ${many(ids.length, "task")}?`,
      text: "Waiting ones never start; running ones are killed with all their processes.",
      action: "Cancel them", danger: true,
      run: async () => {
        const { items } = await call("POST", "/tasks/cancel", { body: { ids } });
        const killing = items.filter((/** @type {any} */ one) => one.outcome === "killing").length;
        notice(`${many(items.length, "task")} cancelled${killing ? `, ${killing} of them being killed` : ""}`);
      },
    });
    after();
  }
  async function onRetry() {
    await attempt("Nothing was retried", () => each(selected().filter((task) => RETRYABLE.has(task.state)), (task) => call("POST", at`/tasks/${task.id}/retry`), "submitted again"));
    after();
  }
  async function onDelete() {
    const tasks = selected().filter((task) => ENDED.has(task.state));
    await ask({
      title: `Delete ${many(tasks.length, "task")}?`,
      text: "Their history and output go with them. This cannot be undone.",
      action: "Delete them", danger: true,
      run: () => each(tasks, (task) => call("DELETE", at`/tasks/${task.id}`), "deleted"),
    });
    after();
  }
  return {
    node,
    update() {
      const tasks = selected();
      node.hidden = tasks.length === 0 || !may("write");
      document.body.style.setProperty("--bulk", `${node.offsetHeight}px`);
      count.textContent = `${many(tasks.length, "task")} selected`;
      cancel.disabled = !tasks.some((task) => !ENDED.has(task.state));
      retry.disabled = !tasks.some((task) => RETRYABLE.has(task.state));
      remove.disabled = !tasks.some((task) => ENDED.has(task.state));
    },
  };
}
