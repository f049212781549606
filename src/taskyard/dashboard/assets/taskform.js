// What the submit form asks for, and the request it becomes.

/** @typedef {import("./fields.js").Field} Field */

/** @type {Field[]} */
export const BASICS = [
  { name: "name", label: "Name", placeholder: "optional" },
  { name: "group", label: "Group", placeholder: "default", list: "known-groups" },
  { name: "image", label: "Container image", placeholder: "none: runs on the worker itself" },
];

/** Parts of the form that are folded away at first. @type {[string, Field[]][]} */
export const PARTS = [
  ["When", [
    { name: "start_in_s", label: "Start in (seconds)", kind: "number", placeholder: "at once" },
    { name: "start_at", label: "Start at", kind: "datetime-local", hint: "your time zone" },
    { name: "cron", label: "Repeat (cron)", placeholder: "0 8 * * 1-5", hint: "minute hour day month weekday" },
    { name: "timezone", label: "Time zone of the cron", placeholder: "UTC" },
    { name: "catch_up", label: "Firings missed while down", kind: "select", options: [["", "one for all"], ["none", "forget them"], ["all", "every one"]] },
    { name: "expires_at", label: "Never start after", kind: "datetime-local", hint: "your time zone" },
    { name: "priority", label: "Priority", kind: "number", placeholder: "0", hint: "-100 to 100, higher first" },
  ]],
  ["Resources and limits", [
    { name: "resources.cpu", label: "CPU (cores)", kind: "number", placeholder: "not reserved" },
    { name: "resources.memory", label: "Memory", placeholder: "not reserved", hint: "such as 512MiB" },
    { name: "resources.pids", label: "Processes at most", kind: "number", placeholder: "not limited" },
    { name: "timeout_s", label: "Time limit of an attempt (seconds)", kind: "number", placeholder: "none" },
    { name: "log_limit", label: "Output kept of each stream", placeholder: "64MiB" },
    { name: "kill.signal", label: "Kill signal", placeholder: "SIGTERM" },
    { name: "kill.grace_s", label: "Grace after it (seconds)", kind: "number", placeholder: "10" },
  ]],
  ["Retries", [
    { name: "retry.max_attempts", label: "Attempts at most", kind: "number", placeholder: "1" },
    { name: "retry.backoff_min_s", label: "Shortest wait (seconds)", kind: "number", placeholder: "1" },
    { name: "retry.backoff_max_s", label: "Longest wait (seconds)", kind: "number", placeholder: "3600" },
    { name: "retry.factor", label: "Factor", kind: "number", placeholder: "2" },
    { name: "retry.jitter", label: "Jitter", kind: "number", placeholder: "0.1", hint: "0 to 1" },
    { name: "rerun_if_lost", label: "Run again if its worker is lost", kind: "check", value: true },
  ]],
  ["Surroundings", [
    { name: "cwd", label: "Working directory", placeholder: "private, empty" },
    { name: "user", label: "User", placeholder: "the worker's" },
    { name: "stdin", label: "Standard input", kind: "area", wide: "wide" },
    { name: "isolate", label: "Isolate with bubblewrap", kind: "check" },
    { name: "network", label: "May use the network", kind: "check", value: true },
    { name: "strict", label: "Fail where a limit cannot be enforced", kind: "check" },
  ]],
  ["More", [
    { name: "idempotency_key", label: "Idempotency key", hint: "a second submit with it answers with the first task" },
    { name: "webhooks", label: "Webhook address", placeholder: "https://app.example/hook", hint: "told when the task has ended" },
    { name: "metadata", label: "Metadata (JSON object)", kind: "area", wide: "wide" },
    { name: "rest", label: "Further members (JSON object)", kind: "area", wide: "wide", hint: "members of the API that have no field here, such as \u201ccontainer\u201d or \u201cplacement\u201d; fields come before them" },
  ]],
];

/** @param {string} local what a datetime-local control gives @returns {string} RFC 3339 */
function instant(local) {
  return new Date(local).toISOString();
}

/** JSON that was entered in a field, and cannot be read. */
export class BadJson extends Error {
  /** @param {string} field @param {string} problem */
  constructor(field, problem) {
    super(problem);
    this.field = field;
  }
}

/** @param {string} field @param {string} text @returns {Record<string, any>} */
function objectOf(field, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BadJson(field, `is not JSON: ${/** @type {Error} */ (error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadJson(field, "has to be a JSON object, such as {\"key\": 1}");
  return value;
}

/**
 * What fields say, over the members that have none; objects are joined, lists follow each other.
 * @param {Record<string, any>} rest
 * @param {Record<string, any>} body
 */
function joined(rest, body) {
  const all = { ...rest, ...body };
  for (const [name, value] of Object.entries(rest)) {
    if (Array.isArray(value) && Array.isArray(body[name])) all[name] = [...value, ...body[name]];
    else if (isObject(value) && isObject(body[name])) all[name] = { ...value, ...body[name] };
  }
  return all;
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The request for what was entered. Throws :class:`BadJson`.
 * @param {Record<string, any>} values of all fields
 * @param {{argv: boolean, env: [string, string][], labels: [string, string][]}} rest
 * @returns {Record<string, any>}
 */
export function taskBody(values, { argv, env, labels }) {
  /** @type {Record<string, any>} */
  const body = {};
  for (const [path, value] of Object.entries(values)) {
    if (value === null || path === "rest" || (value === false && (path === "isolate" || path === "strict"))) continue;
    const [outer, inner] = path.split(".");
    if (inner) (body[outer] ??= {})[inner] = value;
    else body[outer] = value;
  }
  const command = String(values.command ?? "");
  // Given as lines, each line is one argument, so that nothing needs to be quoted.
  if (command !== "") body.command = argv ? command.replace(/\n$/, "").split("\n") : command;
  if (body.start_at) body.start_at = instant(body.start_at);
  if (body.expires_at) body.expires_at = instant(body.expires_at);
  if (body.metadata) body.metadata = objectOf("metadata", body.metadata);
  if (body.webhooks) body.webhooks = [{ url: body.webhooks }];
  for (const name of ["rerun_if_lost", "network"]) if (body[name] === true) delete body[name];
  if (env.length > 0) body.env = Object.fromEntries(env.map(([name, value]) => [name, value.startsWith("@secret:") ? { secret: value.slice(8) } : value]));
  if (labels.length > 0) body.labels = Object.fromEntries(labels);
  return values.rest ? joined(objectOf("rest", values.rest), body) : body;
}
