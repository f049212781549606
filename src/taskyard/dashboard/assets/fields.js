// Form fields with their labels, hints and the server's complaints next to them.

import { el, fill } from "./element.js";
import { problemBox } from "./problem.js";

/**
 * @typedef {object} Field
 * @property {string} name path of the member in the request, such as `retry.max_attempts`
 * @property {string} label
 * @property {"text" | "number" | "area" | "select" | "check" | "password" | "datetime-local"} [kind]
 * @property {string} [hint]
 * @property {any} [value]
 * @property {string} [placeholder]
 * @property {[string, string][]} [options] value and words, for `select`
 * @property {string} [list] suggestions: id of a datalist
 * @property {string} [wide] `wide` to take a whole row
 */

let serial = 0;

/** A set of fields that can be read at once and marked with problems. */
export class Fields {
  /** @param {Field[]} fields */
  constructor(fields) {
    /** @type {Map<string, {input: any, error: HTMLElement, field: Field}>} */
    this.parts = new Map();
    this.general = el("div");
    this.node = el("div", { class: "fields" }, this.general, fields.map((field) => this.build(field)));
  }

  /**
   * One field: label, control, hint, room for a complaint.
   * @param {Field} field
   */
  build(field) {
    serial += 1;
    const id = `field-${serial}`;
    const error = el("p", { class: "field-error", id: `${id}-error`, hidden: true });
    const hint = field.hint ? el("p", { class: "hint", id: `${id}-hint` }, field.hint) : null;
    const input = control(field, id, [`${id}-error`, hint ? `${id}-hint` : ""].join(" ").trim());
    this.parts.set(field.name, { input, error, field });
    const label = el("label", { for: id }, field.label);
    const check = field.kind === "check";
    return el("div", { class: `field ${field.wide ?? ""} ${check ? "check" : ""}` },
      check ? [input, label] : [label, input], hint, error);
  }

  /**
   * What was entered, by name: text, number, boolean; null where nothing was.
   * @returns {Record<string, any>}
   */
  values() {
    /** @type {Record<string, any>} */
    const values = {};
    for (const [name, { input, field }] of this.parts) {
      if (field.kind === "check") values[name] = input.checked;
      else if (input.value === "") values[name] = null;
      else if (field.kind === "number") values[name] = Number(input.value);
      else values[name] = input.value;
    }
    return values;
  }

  /** @param {string} name @returns {any} the control */
  input(name) {
    return this.parts.get(name)?.input;
  }

  clearProblems() {
    fill(this.general);
    for (const { input, error } of this.parts.values()) {
      error.hidden = true;
      input.removeAttribute("aria-invalid");
    }
  }

  /**
   * Put each complaint at its field, and what belongs to none at the top; focus the first.
   * @param {string} what
   * @param {import("./problem.js").Problem} problem
   */
  showProblem(what, problem) {
    let first = null;
    const homeless = [];
    for (const complaint of problem.errors) {
      const part = this.owner(complaint.field);
      if (!part) {
        homeless.push(complaint);
        continue;
      }
      const text = complaint.field === part.field.name ? complaint.problem : `${complaint.field}: ${complaint.problem}`;
      part.error.textContent = part.error.hidden ? text : `${part.error.textContent}; ${text}`;
      part.error.hidden = false;
      part.input.setAttribute("aria-invalid", "true");
      first ??= part.input;
    }
    if (problem.errors.length === 0 || homeless.length > 0) {
      problem.errors = homeless;
      fill(this.general, problemBox(what, problem));
    } else {
      fill(this.general, el("p", { class: "field-error", role: "alert" }, `${what}; correct the marked fields and send it again.`));
    }
    first?.closest("details")?.setAttribute("open", "");
    if (first) first.focus();
    else this.general.scrollIntoView({ block: "nearest" });
  }

  /**
   * The field a complaint is about: its own, or the nearest one around it.
   * @param {string} path such as `env.FOO` or `webhooks[0].url`
   */
  owner(path) {
    for (let name = path; name; name = name.replace(/[.[]?[^.[]*$/, "")) {
      const part = this.parts.get(name);
      if (part) return part;
    }
    return null;
  }
}

/** @param {Field} field @param {string} id @param {string} describedBy @returns {any} */
function control(field, id, describedBy) {
  const common = { id, name: field.name, "aria-describedby": describedBy, autocomplete: "off" };
  const value = field.value ?? "";
  switch (field.kind) {
    case "area":
      return el("textarea", { ...common, rows: 3, placeholder: field.placeholder, spellcheck: "false", value });
    case "select":
      return el("select", common, (field.options ?? []).map(([key, words]) => el("option", { value: key, selected: key === value }, words)));
    case "check":
      return el("input", { ...common, type: "checkbox", checked: Boolean(field.value) });
    case "number":
      return el("input", { ...common, type: "number", step: "any", inputmode: "decimal", placeholder: field.placeholder, value });
    default:
      return el("input", { ...common, type: field.kind ?? "text", list: field.list, placeholder: field.placeholder, spellcheck: "false", value });
  }
}
