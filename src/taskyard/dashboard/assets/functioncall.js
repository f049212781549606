// What a function was asked, and what it answered.

import { at, get, send } from "./api.js";
import { pairs } from "./attempt.js";
import { el, fill } from "./element.js";
import { bytes } from "./format.js";
import { asProblem, isAbort, problemBox } from "./problem.js";
import { ENDED } from "./state.js";

const SHOWN_BYTES = 65_536;
const TASK_HEADER = "taskyard-task-id";

/** A body as text, never as markup; of one that is no text, its size. @param {ArrayBuffer} body */
function bodyText(body) {
  if (body.byteLength === 0) return el("p", { class: "dim" }, "no body");
  const start = body.slice(0, SHOWN_BYTES);
  try {
    // As a stream: the cut may be inside of a character.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: body.byteLength > SHOWN_BYTES });
    return [el("pre", { class: "command", tabindex: "0" }, text),
      body.byteLength > SHOWN_BYTES && el("p", { class: "dim" }, `the first ${bytes(SHOWN_BYTES)} of ${bytes(body.byteLength)}`)];
  } catch {
    return el("p", { class: "dim" }, `${bytes(body.byteLength)} that are not text`);
  }
}

/** @param {[string, string][]} headers */
function headerList(headers) {
  return headers.length > 0 && el("details", null, el("summary", null, `Headers (${headers.length})`),
    el("dl", { class: "pairs mono" }, headers.map(([name, value]) => [el("dt", null, name), el("dd", null, el("code", null, value))])));
}

/** @param {any} request */
function requestPart(request) {
  const body = request.body_base64 === null ? new TextEncoder().encode(request.body ?? "")
    : Uint8Array.from(atob(request.body_base64), (letter) => letter.charCodeAt(0));
  return el("div", null, el("h3", null, "Request"),
    pairs([["Method", request.method], ["Query", request.query && el("code", null, request.query)]]),
    headerList(Object.entries(request.headers)), bodyText(body.buffer));
}

/** @param {string} id @param {AbortSignal} signal */
async function answerPart(id, signal) {
  // The function's own status may be that of an error; the header tells it from ours.
  const answer = await send("GET", at`/tasks/${id}/result`, { signal, takes: (one) => one.headers.has(TASK_HEADER) });
  const headers = /** @type {[string, string][]} */ ([...answer.headers].filter(([name]) => name !== TASK_HEADER));
  return el("div", null, el("h3", null, "Answer"), pairs([["Status", String(answer.status)]]), headerList(headers), bodyText(await answer.arrayBuffer()));
}

/**
 * Show both for a call of a function; nothing for other tasks. What is shown does not change, so
 * it is fetched once, and the answer once the call has succeeded.
 * @param {HTMLElement} node
 * @param {any} task
 * @param {AbortSignal} signal
 */
export async function showCall(node, task, signal) {
  const wanted = task.runtime !== "function" ? "" : ENDED.has(task.state) ? "both" : "request";
  if (!wanted || node.dataset.shown === wanted) return;
  try {
    const request = requestPart(await get(at`/tasks/${task.id}/request`, {}, signal));
    const answer = task.state === "succeeded" && await answerPart(task.id, signal);
    fill(node, el("h2", null, "Call"), request, answer);
    node.dataset.shown = wanted;
  } catch (error) {
    if (isAbort(error)) return;
    fill(node, el("h2", null, "Call"), problemBox("The call could not be loaded", asProblem(error), () => void showCall(node, task, signal)));
  }
  node.hidden = false;
}
