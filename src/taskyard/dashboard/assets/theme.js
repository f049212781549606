// Light or dark: the system's choice until the reader makes one, which this browser keeps.

import { el, fill } from "./element.js";
import { icon } from "./icon.js";

const KEY = "taskyard.theme";
const SYSTEM = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark now. */
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : SYSTEM.matches;
}

/** A button that turns the theme around. */
export function themeButton() {
  const button = el("button", { type: "button", class: "bare", onclick: turn });
  const draw = () => {
    const other = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `Switch to the ${other} theme`);
    button.title = `Switch to the ${other} theme`;
    fill(button, icon(isDark() ? "sun" : "moon"));
  };
  function turn() {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      document.documentElement.dataset.theme = next; // storage is refused: it lasts for this page
    }
    draw();
  }
  SYSTEM.addEventListener("change", draw);
  draw();
  return button;
}
