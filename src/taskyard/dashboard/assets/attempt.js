// One attempt: where and how it went, and the proof of its kill.

import { el } from "./element.js";
import { bytes, clock, duration, many, secondsBetween, timeElement } from "./format.js";
import { icon } from "./icon.js";
import { badge, reasonText } from "./state.js";

/** A list of names and values; empty values are left out. @param {[string, import("./element.js").Child][]} pairs */
export function pairs(pairs) {
  return el("dl", { class: "pairs" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
}

/** What a kill did, and that nothing outlived it. @param {any} report */
function killProof(report) {
  const clean = report.survivors.length === 0;
  return el("div", { class: `proof ${clean ? "clean" : "unclean"}` },
    icon(clean ? "check" : "warn"),
    el("div", null,
      el("p", null, el("strong", null, clean ? "Killed, nothing survived" : `${many(report.survivors.length, "process", "processes")} survived the kill`)),
      el("p", { class: "dim" },
        report.signal ? `${report.signal} first` : "no polite signal",
        report.forced ? `, then ${many(report.killed_count, "process", "processes")} killed outright` : ", and that was enough",
        report.method === "cgroup" ? " through the cgroup (the whole tree at once)" : ` by ${report.method}`,
        `; done ${duration(secondsBetween(report.requested_at, report.done_at))} after the request at ${clock(report.requested_at)}.`),
      !clean && el("ul", null, report.survivors.map((/** @type {any} */ one) => el("li", null, el("code", null, `${one.pid} ${one.command}`))))));
}

/** As whom and how isolated. @param {any} held */
function confinementText(held) {
  if (!held) return null;
  const how = { none: "not isolated: the server's own user", user: "a user of its workspace", sandbox: "in a sandbox", container: "in a container" };
  return `${held.user && `user ${held.user}, `}${how[/** @type {keyof typeof how} */ (held.isolation)]}`;
}

/** @param {any} size */
function streamText(size) {
  if (!size) return null;
  return `${bytes(size.stored_bytes)}${size.dropped_bytes ? `, ${bytes(size.dropped_bytes)} more not kept` : ""}`;
}

/**
 * A card about an attempt.
 * @param {any} attempt
 * @param {{shown: boolean, onShow: () => void}} options whether its output is the one on view
 */
export function attemptCard(attempt, { shown, onShow }) {
  const begun = attempt.started_at ?? attempt.assigned_at;
  const { usage } = attempt;
  const ended = attempt.exit_code !== null ? `code ${attempt.exit_code}` : attempt.signal;
  return el("li", { class: "card attempt", "aria-current": shown ? "true" : null },
    el("div", { class: "row wrap" },
      el("strong", null, `Attempt ${attempt.number}`), badge(attempt.state),
      ended && el("code", null, ended), el("span", { class: "grow" }),
      el("button", { type: "button", class: "small", "aria-pressed": String(shown), onclick: onShow }, shown ? "Output shown" : "Show output")),
    attempt.message && el("p", { class: attempt.state === "succeeded" ? "dim" : "bad" }, attempt.message),
    (attempt.warnings ?? []).map((/** @type {string} */ text) => el("p", { class: "bad" }, text)),
    attempt.kill_report && killProof(attempt.kill_report),
    pairs([
      ["Worker", attempt.worker_id],
      ["Cores", attempt.cores?.length > 0 && attempt.cores.join(", ")],
      ["Started", timeElement(attempt.started_at)],
      ["Ran for", attempt.started_at && duration(secondsBetween(begun, attempt.finished_at))],
      ["Ran as", confinementText(attempt.confinement)],
      ["Limits enforced", attempt.confinement?.enforced.join(", ")],
      ["Reason", reasonText(attempt.reason)],
      ["CPU", usage?.cpu_user_s !== undefined && usage?.cpu_user_s !== null && `${duration(usage.cpu_user_s)} user, ${duration(usage.cpu_system_s ?? 0)} system`],
      ["Peak memory", usage?.memory_peak_bytes ? bytes(usage.memory_peak_bytes) : null],
      ["stdout", attempt.finished_at && streamText(attempt.stdout)],
      ["stderr", attempt.finished_at && streamText(attempt.stderr)],
    ]));
}
