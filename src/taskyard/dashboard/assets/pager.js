// Pages by cursor: forward with what the server gave, back over the way one came.

import { el } from "./element.js";
import { icon } from "./icon.js";

/** Where one is in a list that is read page by page. */
export class Pager {
  /**
   * @param {() => void} load fetch the page of `this.cursor`
   * @param {{back: string, forth: string}} words
   */
  constructor(load, words) {
    this.load = load;
    /** Cursors of the pages before this one; the first page has none. @type {(string | null)[]} */
    this.trail = [];
    /** @type {string | null} */
    this.cursor = null;
    /** @type {string | null} */
    this.next = null;
    this.back = el("button", { type: "button", class: "small", disabled: true, onclick: () => this.goBack() }, icon("back"), words.back);
    this.forth = el("button", { type: "button", class: "small", disabled: true, onclick: () => this.goForth() }, words.forth, icon("next"));
    this.node = el("div", { class: "pager" }, this.back, this.forth);
  }

  /** Whether this is the first page. */
  get first() {
    return this.trail.length === 0;
  }

  /** To the first page, without loading it. */
  reset() {
    this.trail = [];
    this.cursor = null;
  }

  /** @param {string | null} next cursor of the page behind the one that was loaded */
  loaded(next) {
    this.next = next;
    this.back.disabled = this.first;
    this.forth.disabled = next === null;
    this.node.hidden = this.first && next === null;
  }

  goForth() {
    if (this.next === null) return;
    this.trail.push(this.cursor);
    this.cursor = this.next;
    this.load();
  }

  goBack() {
    if (this.first) return;
    this.cursor = this.trail.pop() ?? null;
    this.load();
  }
}
