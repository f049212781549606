// All webhook deliveries of the workspace, and the key they are signed with.

import { get } from "./api.js";
import { show } from "./dialog.js";
import { deliveryList } from "./deliveries.js";
import { el, fill } from "./element.js";
import { attempt } from "./notice.js";
import { Pager } from "./pager.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { every } from "./pulse.js";
import { may } from "./session.js";

const LOOK_MS = 5000;
const STATES = ["pending", "delivered", "failed"];

/** @type {import("./router.js").Page} */
export function webhooksPage({ root, query, signal, title }) {
  title("Webhooks");
  let chosen = query.get("state") ?? "";
  const note = el("div");
  const place = el("div");
  const load = async () => {
    try {
      const page = await get("/webhooks/deliveries", { state: chosen, cursor: pager.cursor }, signal);
      pager.loaded(page.next_cursor);
      const open = place.querySelector("details[open]") !== null || place.contains(document.activeElement);
      fill(note, page.items.length === 0 && el("p", { class: "empty" }, chosen ? `No ${chosen} deliveries.` : "No deliveries yet. A task with “webhooks” tells an address of yours what became of it."));
      if (!open || page.items.length === 0) fill(place, deliveryList(page.items, { reload: load, withTask: true }));
    } catch (error) {
      if (!isAbort(error)) fill(note, problemBox("The deliveries could not be loaded", asProblem(error), load));
    }
  };
  const pager = new Pager(() => { fill(place); void load(); }, { back: "Newer", forth: "Older" });
  const chips = STATES.map((state) => el("button", {
    type: "button", class: "chip", data: { state }, "aria-pressed": String(state === chosen),
    onclick: () => {
      chosen = chosen === state ? "" : state;
      chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(STATES[i] === chosen)));
      pager.reset();
      fill(place);
      void load();
    },
  }, state));
  const key = () => attempt("The key could not be read", async () => {
    const answer = await get("/webhooks/signing-key", {}, signal);
    await show("Signing key", el("p", { class: "dim" }, "Receivers check the webhook-signature header with it. Keep it secret."), el("pre", { class: "command" }, answer.key));
  });
  fill(root,
    el("div", { class: "row head wrap" }, el("h1", { class: "grow" }, "Webhooks"), may("admin") && el("button", { type: "button", onclick: key }, "Show the signing key")),
    el("div", { class: "chips", role: "group", "aria-label": "States" }, chips), note, place, pager.node);
  every(LOOK_MS, load, signal);
}
