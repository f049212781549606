// Rows of names and values that can be added and removed, such as an environment.

import { el } from "./element.js";
import { icon } from "./icon.js";

/** A list of rows; `values` reads them. */
export class Rows {
  /** @param {{legend: string, names: string, values: string, add: string, hint?: string}} words */
  constructor(words) {
    this.words = words;
    this.list = el("div", { class: "stack tight" });
    this.node = el("fieldset", { class: "field wide" }, el("legend", null, words.legend), words.hint && el("p", { class: "hint" }, words.hint), this.list,
      el("button", { type: "button", class: "small", onclick: () => this.add("", "").focus() }, words.add));
  }

  /**
   * @param {string} name
   * @param {string} value
   * @returns {HTMLInputElement} the control of the name
   */
  add(name, value) {
    const input = el("input", { value: name, placeholder: this.words.names, "aria-label": this.words.names, spellcheck: "false", autocomplete: "off" });
    const row = el("div", { class: "row pair" }, input,
      el("input", { value, placeholder: this.words.values, "aria-label": this.words.values, spellcheck: "false", autocomplete: "off" }),
      el("button", { type: "button", class: "bare", "aria-label": "Remove this row", onclick: () => row.remove() }, icon("close")));
    this.list.appendChild(row);
    return input;
  }

  /** Names and values of the rows that have a name. @returns {[string, string][]} */
  entries() {
    return [...this.list.children].map((row) => {
      const [name, value] = row.querySelectorAll("input");
      return /** @type {[string, string]} */ ([name.value.trim(), value.value]);
    }).filter(([name]) => name !== "");
  }
}
