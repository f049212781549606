// Webhook deliveries: where they went, how each try ended, sending one again.

import { at, call } from "./api.js";
import { el } from "./element.js";
import { clock, many, timeElement } from "./format.js";
import { attempt } from "./notice.js";
import { address } from "./router.js";
import { may } from "./session.js";

/** @param {any} one a try */
function tryLine(one) {
  const how = one.status ? `answered ${one.status}` : one.error ?? "no answer";
  return el("li", null, el("span", { class: "num dim" }, clock(one.at)), ` ${how}`, one.duration_ms !== null && one.duration_ms !== undefined && el("span", { class: "dim" }, ` in ${Math.round(one.duration_ms)} ms`));
}

/**
 * A list of deliveries.
 * @param {any[]} items
 * @param {{reload: () => void, withTask: boolean}} options
 */
export function deliveryList(items, { reload, withTask }) {
  const again = (/** @type {any} */ one) => attempt("It was not sent again", async () => {
    await call("POST", at`/webhooks/deliveries/${one.id}/redeliver`);
    reload();
    return "It will be sent again now";
  });
  return el("ul", { class: "cards one" }, items.map((one) =>
    el("li", { class: "card" },
      el("div", { class: "row wrap" },
        el("span", { class: "badge", data: { state: one.state } }, one.state),
        el("strong", null, one.event), el("code", { class: "clip grow", title: one.url }, one.url),
        may("operate") && el("button", { type: "button", class: "small", onclick: () => again(one) }, "Send again")),
      el("p", { class: "dim" }, withTask && el("a", { href: address(["tasks", one.task_id]) }, "task"), withTask && " · ",
        "created ", timeElement(one.created_at), ` · ${many(one.attempt_count, "try", "tries")}`,
        one.state === "pending" && one.next_at && [" · next ", timeElement(one.next_at)],
        one.last_error && ` · ${one.last_error}`),
      one.tries?.length > 0 && el("details", null, el("summary", null, "Tries"), el("ul", { class: "plain" }, one.tries.map(tryLine))))));
}
