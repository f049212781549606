// The frame around every page: navigation, who is signed in, whether the page is live.

import { el, fill } from "./element.js";
import { icon } from "./icon.js";
import { onStatus } from "./changes.js";
import { here } from "./router.js";
import { may, whoAmI } from "./session.js";
import { showShortcuts } from "./shortcuts.js";
import { themeButton } from "./theme.js";

/** Name in the address, words, icon, role. @type {[string, string, string, import("./session.js").Me["role"]][]} */
const PLACES = [
  ["", "Overview", "overview", "read"],
  ["tasks", "Tasks", "tasks", "read"],
  ["submit", "Submit", "submit", "write"],
  ["schedules", "Schedules", "schedules", "read"],
  ["groups", "Groups", "groups", "read"],
  ["webhooks", "Webhooks", "webhooks", "read"],
  ["access", "Access", "access", "admin"],
  ["audit", "Audit", "audit", "admin"],
];

/** @type {Record<string, string>} */
const LIVE_WORDS = { live: "Live", connecting: "Connecting", waiting: "Reconnecting", over: "Not live", off: "Offline" };

/**
 * Build the frame.
 * @param {HTMLElement} app
 * @param {{onSignOut: () => void, signal: AbortSignal}} options
 * @returns {() => HTMLElement} empties the place for a page and hands it out
 */
export function buildShell(app, { onSignOut, signal }) {
  const links = PLACES.filter(([, , , role]) => may(/** @type {any} */ (role))).map(([name, words, picture]) =>
    el("a", { href: `#/${name}`, data: { place: name } }, icon(picture), el("span", null, words)));
  const menu = el("button", { type: "button", class: "bare menu", "aria-expanded": "false", "aria-controls": "nav", "aria-label": "Menu" }, icon("menu"));
  const nav = el("nav", { id: "nav", "aria-label": "Main" }, links,
    el("a", { href: "/docs" }, icon("docs"), el("span", null, "API")));
  const fold = (/** @type {boolean} */ open) => {
    nav.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
  };
  menu.addEventListener("click", () => fold(!nav.classList.contains("open")));

  const live = el("span", { class: "live", role: "status" });
  onStatus((status) => {
    live.dataset.status = status;
    live.textContent = LIVE_WORDS[status];
  }, signal);

  const me = whoAmI();
  const main = el("main", { id: "main", tabindex: "-1" });
  fill(app,
    el("header", { class: "top" }, menu,
      el("a", { class: "brand", href: "#/" }, el("img", { src: new URL("icon.svg", import.meta.url).pathname, alt: "", width: 26, height: 26 }), el("span", null, "Taskyard")),
      el("span", { class: "grow" }), live,
      el("span", { class: "who", title: `${me?.actor} in workspace ${me?.workspace}, role ${me?.role}` },
        el("strong", null, me?.actor), el("span", { class: "dim" }, `${me?.workspace} · ${me?.role}`)),
      el("button", { type: "button", class: "bare wide-only", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)", onclick: showShortcuts }, icon("keyboard")),
      themeButton(),
      el("button", { type: "button", class: "bare", "aria-label": "Sign out", title: "Sign out", onclick: onSignOut }, icon("out"))),
    nav, main);

  let first = true;
  return () => {
    fold(false);
    const { name } = here();
    for (const link of links) {
      if (link.dataset.place === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    fill(main);
    window.scrollTo(0, 0);
    // A reader who follows a link with the keyboard goes on inside the new page.
    if (!first) main.focus({ preventScroll: true });
    first = false;
    return main;
  };
}
