// Questions in a modal dialog. The browser keeps the focus inside and gives it back.

import { el } from "./element.js";
import { asProblem } from "./problem.js";
import { Fields } from "./fields.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {import("./fields.js").Field[]} [fields]
 * @property {string} action the word on the button
 * @property {boolean} [danger]
 * @property {(values: Record<string, any>) => Promise<void>} run throws a Problem to keep the dialog open
 */

/**
 * Ask; resolves to whether it was done.
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function ask(question) {
  return new Promise((resolve) => {
    const fields = new Fields(question.fields ?? []);
    const button = el("button", { type: "submit", class: question.danger ? "danger" : "primary" }, question.action);
    const form = el("form", { method: "dialog", novalidate: true, onsubmit: submit },
      el("h2", null, question.title),
      question.text && el("p", { class: "dim" }, question.text),
      fields.node,
      el("div", { class: "actions end" },
        el("button", { type: "button", onclick: () => dialog.close() }, "Close"), button));
    const dialog = el("dialog", { class: "ask", "aria-label": question.title }, form);
    let done = false;

    /** @param {Event} event */
    async function submit(event) {
      event.preventDefault();
      button.disabled = true;
      fields.clearProblems();
      try {
        await question.run(fields.values());
        done = true;
        dialog.close();
      } catch (error) {
        fields.showProblem("This was not done", asProblem(error));
        button.disabled = false;
      }
    }
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(done);
    });
    document.body.appendChild(dialog);
    dialog.showModal();
    if (!question.fields?.length) button.focus();
  });
}

/**
 * Show something to be read or copied.
 * @param {string} title
 * @param {...import("./element.js").Child} children
 * @returns {Promise<void>} when it was closed
 */
export function show(title, ...children) {
  return new Promise((resolve) => {
    const close = el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close");
    const dialog = el("dialog", { class: "ask", "aria-label": title }, el("h2", null, title), children, el("div", { class: "actions end" }, close));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
    document.body.appendChild(dialog);
    dialog.showModal();
    close.focus();
  });
}
