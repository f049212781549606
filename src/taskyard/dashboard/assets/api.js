// Requests to the native API. Every failure arrives as a Problem.

import { Problem } from "./problem.js";
import { authorization, credential, forget } from "./session.js";

export const BASE = "/api/v1";

/**
 * @typedef {object} Options
 * @property {any} [body] sent as JSON
 * @property {Record<string, any>} [query] arrays repeat; null and "" are left out
 * @property {AbortSignal} [signal]
 * @property {(answer: Response) => boolean} [takes] whether an answer is none of our errors
 * @property {import("./session.js").Credential | null} [as] another credential than the stored one
 */

/** Told when the server no longer takes the credential. @type {EventTarget} */
export const signOut = new EventTarget();

/**
 * The query part of an address, with its question mark; empty for nothing.
 * @param {Record<string, any>} [query]
 */
export function queryText(query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(name, String(one));
    }
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

/**
 * Send a request and hand back the raw answer.
 * @param {string} method
 * @param {string} path behind the base
 * @param {Options} [options]
 * @returns {Promise<Response>}
 */
export async function send(method, path, options = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  const bearer = authorization(options.as ?? credential());
  if (bearer) headers.Authorization = bearer;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(BASE + path + queryText(options.query), {
      method,
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (options.signal?.aborted) throw new DOMException("the page was left", "AbortError");
    throw new Problem(0, { title: "No answer", detail: "the server does not answer" });
  }
  if (answer.ok || options.takes?.(answer)) return answer;
  const problem = new Problem(answer.status, await problemDocument(answer), Number(answer.headers.get("Retry-After")) || null);
  if (problem.status === 401 && !options.as && credential()) {
    forget();
    signOut.dispatchEvent(new Event("refused"));
  }
  throw problem;
}

/**
 * Send a request and hand back the decoded JSON, or null for an empty answer.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function call(method, path, options = {}) {
  const answer = await send(method, path, options);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/**
 * @param {string} path
 * @param {Record<string, any>} [query]
 * @param {AbortSignal} [signal]
 */
export function get(path, query, signal) {
  return call("GET", path, { query, signal });
}

/**
 * A path with its parts escaped: at`/groups/${name}`.
 * @param {TemplateStringsArray} fixed
 * @param {...string} parts
 */
export function at(fixed, ...parts) {
  return fixed.reduce((path, text, i) => path + encodeURIComponent(parts[i - 1] ?? "") + text);
}

/** @param {Response} answer @returns {Promise<any>} */
async function problemDocument(answer) {
  const text = await answer.text();
  try {
    const decoded = JSON.parse(text);
    if (decoded && typeof decoded === "object") return decoded;
  } catch {
    // not from Taskyard, a proxy perhaps: its status line has to do
  }
  return { title: answer.statusText, detail: `the server answered ${answer.status} ${answer.statusText}`.trim() };
}
