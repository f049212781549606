// The form that submits a task.

import { at, call, get } from "./api.js";
import { el, fill } from "./element.js";
import { Fields } from "./fields.js";
import { notice } from "./notice.js";
import { asProblem, isAbort, Problem, problemBox } from "./problem.js";
import { address, go } from "./router.js";
import { Rows } from "./rows.js";
import { BASICS, formValues, PARTS, taskBody } from "./taskform.js";

/** @type {import("./router.js").Page} */
export async function submitPage({ root, query, signal, title }) {
  title("Submit a task");
  const command = { name: "command", label: "Command", kind: /** @type {const} */ ("area"), wide: "wide", placeholder: "make report" };
  const fields = new Fields([command, ...BASICS]);
  const env = new Rows({ legend: "Environment", names: "NAME", values: "value", add: "Add a variable", hint: "“secret:db-password” as a value stands for the stored secret of that name." });
  const labels = new Rows({ legend: "Labels", names: "key", values: "value", add: "Add a label" });
  const groups = el("datalist", { id: "known-groups" });
  let argv = false;
  const hint = el("p", { class: "hint" });
  const ways = ["Shell command line", "Program and arguments"].map((words, i) =>
    el("button", { type: "button", onclick: () => choose(i === 1) }, words));
  const choose = (/** @type {boolean} */ asArguments) => {
    argv = asArguments;
    ways.forEach((way, i) => way.setAttribute("aria-pressed", String((i === 1) === argv)));
    hint.textContent = argv ? "One argument on each line, the program first; nothing is quoted or expanded." : "Run with /bin/sh -c.";
    fields.input("command").placeholder = argv ? "make\nreport" : "make report";
  };
  const parts = PARTS.map(([words, list]) => {
    const more = list.map((field) => fields.build(field));
    return el("details", { class: "card" }, el("summary", null, words), el("div", { class: "fields" }, more, words === "Surroundings" && env.node, words === "More" && labels.node));
  });
  const button = el("button", { type: "submit", class: "primary" }, "Submit");
  const form = el("form", { class: "submit stack", novalidate: true, onsubmit: submit },
    el("div", { class: "card stack" }, el("div", { class: "segments", role: "group", "aria-label": "Kind of command" }, ways), hint, fields.node, groups),
    parts, el("div", { class: "actions" }, button, el("span", { class: "dim" }, "Answered once it is safely stored.")));

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    fields.clearProblems();
    button.disabled = true;
    try {
      const body = taskBody(fields.values(), { argv, env: env.entries(), labels: labels.entries() });
      const task = await call("POST", "/tasks", { body });
      notice("The task is submitted");
      go(address(["tasks", task.id]));
    } catch (error) {
      const problem = error instanceof SyntaxError
        ? new Problem(422, { title: "Invalid input", errors: [{ field: "metadata", problem: `is not JSON: ${error.message}` }] })
        : asProblem(error);
      // Rows have no field of their own in the list: their complaints open the part they are in.
      for (const [name, rows] of /** @type {[string, Rows][]} */ ([["env", env], ["labels", labels]])) {
        if (problem.errors.some((one) => one.field.split(/[.[]/)[0] === name)) rows.node.closest("details")?.setAttribute("open", "");
      }
      fields.showProblem("The task was not submitted", problem);
    }
    button.disabled = false;
  }

  choose(false);
  fill(root, el("h1", null, "Submit a task"), form);
  fields.input("command").focus();

  const from = query.get("from");
  if (from) await copyFrom(from);
  try {
    const known = await get("/groups", { limit: 100 }, signal);
    fill(groups, known.items.map((/** @type {any} */ group) => el("option", { value: group.name })));
  } catch (error) {
    if (!isAbort(error)) fill(groups); // suggestions only; the field works without them
  }

  /** @param {string} id */
  async function copyFrom(id) {
    try {
      const task = await get(at`/tasks/${id}`, {}, signal);
      choose(Array.isArray(task.command));
      fields.input("command").value = Array.isArray(task.command) ? task.command.join("\n") : task.command;
      for (const [name, value] of Object.entries(formValues(task))) {
        const input = fields.input(name);
        if (!input || value === null || value === undefined) continue;
        if (input.type === "checkbox") input.checked = value;
        else input.value = value;
      }
      let hidden = 0;
      for (const [name, value] of Object.entries(task.env ?? {})) {
        if (value === "***") hidden += 1;
        env.add(name, value === "***" ? "" : typeof value === "object" ? `secret:${value.secret}` : value);
      }
      for (const [key, value] of Object.entries(task.labels ?? {})) labels.add(key, value);
      if (hidden > 0) notice("Hidden values of the environment have to be entered again", "bad");
    } catch (error) {
      if (!isAbort(error)) form.before(problemBox("The task to copy could not be loaded", asProblem(error)));
    }
  }
}
