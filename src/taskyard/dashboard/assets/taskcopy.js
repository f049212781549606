// What the submit form shows of a task that is to be submitted once more: every member that a
// submit takes, either in a field of its own or among the further members. Times, the idempotency
// key and what the engine adds stay out.

/** @typedef {{values: Record<string, any>, argv: boolean, env: [string, string][], labels: [string, string][], rest: Record<string, any>, hidden: boolean}} Copy */

const MASK = "***";
/** Runtimes whose tasks are made of what this form sends. */
const COPIED = new Set(["command", "container"]);
/** Members without a field, and what they are when nothing was asked for. @type {[string, any][]} */
const PLAIN = [["container", null], ["placement", null]];

/** @param {any} task @returns {boolean} whether a submit can make another one of it */
export function canCopy(task) {
  return COPIED.has(task.runtime);
}

/** @param {unknown} value @returns {boolean} whether a one-line control shows it as it is */
function fitsLine(value) {
  return typeof value === "string" && !/[\r\n]/.test(value);
}

/** @param {unknown} value @returns {boolean} whether a text area shows it as it is */
function fitsArea(value) {
  return typeof value === "string" && !value.includes("\r");
}

/** @param {unknown} value @returns {boolean} whether the server hid something in it */
function hides(value) {
  if (typeof value === "string") return value.includes(MASK);
  return typeof value === "object" && value !== null && Object.values(value).some(hides);
}

/** @param {any} task as answered by the API @returns {Copy} */
export function copyOf(task) {
  const { resources = {}, kill = {}, retry = {}, command } = task;
  /** @type {Record<string, any>} */
  const rest = {};
  for (const [name, unset] of PLAIN) {
    const value = task[name];
    if (value !== undefined && JSON.stringify(value) !== JSON.stringify(unset)) rest[name] = value;
  }
  if (resources.cores) rest.resources = { cores: resources.cores };
  const argv = Array.isArray(command);
  /** @type {Record<string, any>} */
  const values = {
    name: task.name, group: task.group, image: task.image, priority: task.priority || null,
    cron: task.cron, timezone: task.cron ? task.timezone : null,
    catch_up: task.catch_up === "one" ? null : task.catch_up,
    "resources.cpu": resources.cpu, "resources.memory": resources.memory, "resources.pids": resources.pids,
    timeout_s: task.timeout_s, log_limit: task.log_limit, "kill.signal": kill.signal, "kill.grace_s": kill.grace_s,
    "retry.max_attempts": retry.max_attempts, "retry.backoff_min_s": retry.backoff_min_s, "retry.backoff_max_s": retry.backoff_max_s,
    "retry.factor": retry.factor, "retry.jitter": retry.jitter,
    user: task.user, isolate: task.isolate, network: task.network !== false, strict: task.strict, rerun_if_lost: task.rerun_if_lost,
  };
  // An argument of several lines is not one line of the area.
  const shown = argv ? command.every(fitsLine) && command.at(-1) !== "" : fitsArea(command);
  if (shown) values.command = argv ? command.join("\n") : command;
  else rest.command = command;
  for (const [name, fits] of /** @type {[string, (value: unknown) => boolean][]} */ ([["cwd", fitsLine], ["stdin", fitsArea]])) {
    if (task[name] === null || task[name] === undefined) continue;
    if (fits(task[name])) values[name] = task[name];
    else rest[name] = task[name];
  }
  const { webhooks = [], metadata = {} } = task;
  if (webhooks.length === 1 && String(webhooks[0].events) === "finished" && Object.keys(webhooks[0].headers ?? {}).length === 0) values.webhooks = webhooks[0].url;
  else if (webhooks.length > 0) rest.webhooks = webhooks;
  if (Object.keys(metadata).length > 0) values.metadata = JSON.stringify(metadata, null, 2);
  /** @type {[string, string][]} */
  const env = [];
  for (const [name, value] of Object.entries(task.env ?? {})) {
    if (value === MASK) env.push([name, ""]);
    else if (typeof value === "object") env.push([name, `@secret:${value.secret}`]);
    else if (fitsLine(value) && !value.startsWith("@secret:")) env.push([name, value]);
    else (rest.env ??= {})[name] = value;
  }
  return { values, argv, env, labels: Object.entries(task.labels ?? {}), rest, hidden: hides([command, task.stdin, task.env, metadata, webhooks, task.labels]) };
}
