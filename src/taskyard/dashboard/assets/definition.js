// What a task was asked to do, as the server gives it: secret-looking values are already hidden.

import { pairs } from "./attempt.js";
import { el } from "./element.js";
import { bytes, clock, duration, timeElement, workText } from "./format.js";
import { address } from "./router.js";

/** @param {any} value of an environment entry: text, or a reference to a secret */
function envValue(value) {
  return typeof value === "object" && value !== null ? el("em", { class: "dim" }, `@secret:${value.secret}`) : el("code", null, value);
}

/** @param {number | string} size bytes, or text with a unit */
function sizeText(size) {
  return typeof size === "number" ? bytes(size) : size;
}

/** @param {any} retry */
function retryText(retry) {
  if (!retry || retry.max_attempts <= 1) return "never";
  return `up to ${retry.max_attempts} attempts, after ${duration(retry.backoff_min_s)} to ${duration(retry.backoff_max_s)}, × ${retry.factor}`;
}

/** Where it may run, as it was asked: `match_tag(tag=gpu)`. @param {any} placement @returns {string} */
function placementText(placement) {
  if (Array.isArray(placement)) return `[${placement.map(placementText).join(", ")}]`;
  if (typeof placement !== "object" || placement === null) return String(placement);
  const { type, ...rest } = placement;
  const members = Object.entries(rest).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${placementText(value)}`);
  return `${type ?? ""}(${members.join(", ")})`;
}

/** How an image is run. @param {any} how */
function containerFacts(how) {
  return pairs([
    ["Entry point", how.entrypoint && el("code", null, how.entrypoint.join(" "))],
    ["Pull", how.pull],
    ["Registry secret", how.credentials && `@secret:${how.credentials}`],
    ["Network", how.network],
    ["Volumes", how.volumes?.length > 0 && el("ul", { class: "plain" }, how.volumes.map((/** @type {any} */ one) => el("li", null, el("code", null, `${one.host} → ${one.container}`), one.read_only ? " read-only" : " writable")))],
    ["Hosts", how.hosts && Object.entries(how.hosts).map(([name, address]) => `${name}: ${address}`).join(", ")],
    ["Root file system", how.read_only === false ? "writable" : "read-only"],
    ["Capabilities", how.capabilities?.join(", ")],
  ]);
}

/**
 * Everything about a task that does not change while it runs.
 * @param {any} task
 */
export function definition(task) {
  const { resources = {}, kill = {}, webhooks = [] } = task;
  const container = task.container && containerFacts(task.container);
  const env = Object.entries(task.env ?? {});
  const labels = Object.entries(task.labels ?? {});
  const metadata = Object.keys(task.metadata ?? {}).length > 0 ? JSON.stringify(task.metadata, null, 2) : null;
  return el("div", { class: "definition" },
    el("pre", { class: "command", tabindex: "0", "aria-label": "Command" }, workText(task)),
    pairs([
      ["Size", task.size],
      ["Takes", task.duration_s ? duration(task.duration_s) : null],
      ["Function", task.function && `${task.function}${task.function_version ? `, version ${task.function_version}` : ""}`],
      ["Image", task.image && el("code", null, task.image)],
      ["Group", el("a", { href: address(["tasks"], { group: task.group }) }, task.group)],
      ["Priority", String(task.priority)],
      ["Created", timeElement(task.created_at)],
      ["Starts", task.start_at && timeElement(task.start_at)],
      ["Cron", task.cron && el("span", null, el("code", null, task.cron), ` ${task.timezone}, missed firings: ${task.catch_up}`)],
      ["Due", task.due_at && timeElement(task.due_at)],
      ["Ended", task.finished_at && timeElement(task.finished_at)],
      ["Expires", task.expires_at && clock(task.expires_at)],
      ["Schedule", task.schedule_id && el("a", { href: address(["tasks", task.schedule_id]) }, task.schedule_id)],
      ["Retry of", task.retry_of && el("a", { href: address(["tasks", task.retry_of]) }, task.retry_of)],
      ["CPU", resources.cpu ? `${resources.cpu} cores` : null],
      ["Whole cores", resources.cores],
      ["Placement", task.placement && el("code", null, placementText(task.placement))],
      ["Memory", resources.memory ? sizeText(resources.memory) : null],
      ["Processes", resources.pids ? `at most ${resources.pids}` : null],
      ["Time limit", task.timeout_s ? duration(task.timeout_s) : "none"],
      ["Kill", `${kill.signal ?? "SIGTERM"}, then outright after ${duration(kill.grace_s ?? 10)}`],
      ["Retries", retryText(task.retry)],
      ["If its worker is lost", task.rerun_if_lost === false ? "not run again" : "run again"],
      ["Directory", task.cwd ? el("code", null, task.cwd) : "private, empty"],
      ["User", task.user],
      ["Isolated", task.isolate ? "yes" : null],
      ["Network", task.network === false ? "none" : null],
      ["Strict", task.strict ? "fails where a limit cannot be enforced" : null],
      ["Output limit", task.log_limit !== null && task.log_limit !== undefined ? sizeText(task.log_limit) : null],
      ["Idempotency key", task.idempotency_key && el("code", null, task.idempotency_key)],
      ["Labels", labels.length > 0 && el("span", { class: "badges" }, labels.map(([key, value]) =>
        el("a", { class: "badge plain", href: address(["tasks"], { label: `${key}:${value}` }) }, `${key}: ${value}`)))],
      ["Workspace", task.workspace],
    ]),
    env.length > 0 && el("details", { open: env.length <= 8 }, el("summary", null, `Environment (${env.length})`),
      el("dl", { class: "pairs mono" }, env.map(([name, value]) => [el("dt", null, name), el("dd", null, envValue(value))]))),
    task.stdin && el("details", null, el("summary", null, "Standard input"), el("pre", { class: "command" }, task.stdin)),
    container && el("details", null, el("summary", null, "Container"), container),
    webhooks.length > 0 && el("details", { open: true }, el("summary", null, `Webhooks (${webhooks.length})`),
      el("ul", { class: "plain" }, webhooks.map((/** @type {any} */ hook) => el("li", null, el("code", null, hook.url), el("span", { class: "dim" }, ` when ${hook.events.join(", ")}`))))),
    metadata && el("details", null, el("summary", null, "Metadata"), el("pre", { class: "command" }, metadata)));
}
