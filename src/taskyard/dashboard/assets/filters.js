// Which tasks a list shows: chips for states, fields for the rest; all of it lives in the address.

import { el } from "./element.js";
import { STATES } from "./state.js";

const TYPING_MS = 300;
const FIELDS = /** @type {[string, string, string][]} */ ([
  ["text", "Search", "name or command"],
  ["group", "Group", "exact name"],
  ["label", "Labels", "key:value, key:value"],
]);

/**
 * The query of GET /tasks that an address stands for.
 * @param {URLSearchParams} address
 * @returns {Record<string, any>}
 */
export function taskQuery(address) {
  return {
    state: address.getAll("state"),
    group: address.get("group"),
    text: address.get("text"),
    label: (address.get("label") ?? "").split(",").map((one) => one.trim()).filter(Boolean),
    schedule: address.get("schedule"),
  };
}

/**
 * Controls for an address.
 * @param {URLSearchParams} address changed in place
 * @param {() => void} onChange
 * @returns {{node: HTMLElement, setCounts: (counts: Record<string, number>) => void}}
 */
export function filterBar(address, onChange) {
  let timer = 0;
  /** @type {Map<string, HTMLElement>} */
  const chips = new Map();
  const draw = () => {
    const chosen = address.getAll("state");
    for (const [state, chip] of chips) chip.setAttribute("aria-pressed", String(chosen.includes(state)));
    clear.hidden = [...address.keys()].length === 0;
  };
  /** @param {string} state */
  const toggle = (state) => {
    const chosen = new Set(address.getAll("state"));
    if (!chosen.delete(state)) chosen.add(state);
    address.delete("state");
    for (const one of STATES) if (chosen.has(one)) address.append("state", one);
    draw();
    onChange();
  };
  for (const state of STATES) {
    chips.set(state, el("button", { type: "button", class: "chip", data: { state }, onclick: () => toggle(state) }, state, el("span", { class: "dim num" })));
  }
  const inputs = FIELDS.map(([name, label, placeholder]) => {
    const input = el("input", { type: "search", id: `filter-${name}`, placeholder, value: address.get(name) ?? "", spellcheck: "false", autocomplete: "off" });
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (input.value.trim()) address.set(name, input.value.trim());
        else address.delete(name);
        draw();
        onChange();
      }, TYPING_MS);
    });
    return el("label", { class: "inline-field" }, el("span", null, label), input);
  });
  const clear = el("button", {
    type: "button", class: "small", onclick: () => {
      for (const name of [...address.keys()]) address.delete(name);
      for (const input of node.querySelectorAll("input")) input.value = "";
      draw();
      onChange();
    },
  }, "Clear filters");
  const node = el("div", { class: "filters", role: "search" },
    el("div", { class: "chips", role: "group", "aria-label": "States" }, [...chips.values()]),
    el("div", { class: "row wrap" }, inputs, clear));
  draw();
  return {
    node,
    setCounts(counts) {
      for (const [state, chip] of chips) {
        const text = counts[state] ? counts[state].toLocaleString("en") : "";
        const place = /** @type {HTMLElement} */ (chip.lastElementChild);
        if (place.textContent !== text) place.textContent = text;
      }
    },
  };
}
