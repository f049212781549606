// The form that submits a task.

import { at, call, get } from "./api.js";
import { el, fill } from "./element.js";
import { Fields } from "./fields.js";
import { notice } from "./notice.js";
import { asProblem, isAbort, Problem, problemBox } from "./problem.js";
import { address, go } from "./router.js";
import { Rows } from "./rows.js";
import { copyOf } from "./taskcopy.js";
import { BadJson, BASICS, PARTS, taskBody } from "./taskform.js";

/** @type {import("./router.js").Page} */
export async function submitPage({ root, query, signal, title }) {
  title("Submit a task");
  const command = { name: "command", label: "Command", kind: /** @type {const} */ ("area"), wide: "wide", placeholder: "make report" };
  const fields = new Fields([command, ...BASICS]);
  const env = new Rows({ legend: "Environment", names: "NAME", values: "value", add: "Add a variable", hint: "“@secret:db-password” as a value stands for the stored secret of that name." });
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
      const problem = error instanceof BadJson
        ? new Problem(422, { title: "Invalid input", errors: [{ field: error.field, problem: error.message }] })
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
      const copy = copyOf(await get(at`/tasks/${id}`, {}, signal));
      choose(copy.argv);
      for (const [name, value] of Object.entries(copy.values)) {
        const input = fields.input(name);
        if (!input || value === null || value === undefined) continue;
        if (input.type === "checkbox") input.checked = value;
        else input.value = value;
      }
      if (Object.keys(copy.rest).length > 0) {
        const further = fields.input("rest");
        further.value = JSON.stringify(copy.rest, null, 2);
        further.rows = Math.min(further.value.split("\n").length, 20);
        further.closest("details")?.setAttribute("open", "");
      }
      for (const [name, value] of copy.env) env.add(name, value);
      for (const [key, value] of copy.labels) labels.add(key, value);
      if (copy.hidden) {
        env.node.closest("details")?.setAttribute("open", "");
        notice("Hidden values (***) have to be entered again", "bad");
      }
    } catch (error) {
      if (!isAbort(error)) form.before(problemBox("The task to copy could not be loaded", asProblem(error)));
    }
  }
}
