// Saves a whole stream. The API wants a header, so that a plain link cannot do it: the answer is
// read here and written to the chosen file piece by piece where the browser can do that.

import { at, send } from "./api.js";
import { bytes } from "./format.js";
import { Problem } from "./problem.js";

const IN_MEMORY_BYTES = 256 * 1024 * 1024;

/**
 * Save everything a task has written to a stream.
 * @param {string} taskId
 * @param {string} stream or `both`, in the order they came
 * @param {number | null} attempt the latest when null
 * @returns {Promise<string | void>} what to say about it
 */
export async function saveLog(taskId, stream, attempt) {
  const streams = stream === "both" ? ["stdout", "stderr"] : [stream];
  const name = `${taskId}-${attempt ? `${attempt}-` : ""}${stream}.log`;
  const picker = /** @type {any} */ (window).showSaveFilePicker;
  const query = { attempt, download: 1 };
  const sizes = await Promise.all(streams.map((one) => logSize(taskId, one, attempt)));
  const size = sizes.reduce((sum, one) => sum + one, 0);
  if (size > IN_MEMORY_BYTES) {
    if (!picker) throw new Problem(-1, { detail: `${bytes(size)} are too much for this browser; use “taskyard logs ${taskId}” instead` });
    let handle;
    try {
      handle = await picker.call(window, { suggestedName: name });
    } catch {
      return; // the reader closed the dialog
    }
    const answer = await send("GET", at`/tasks/${taskId}/logs/${stream}`, { query });
    await answer.body?.pipeTo(await handle.createWritable());
    return `${name} saved`;
  }
  const answer = await send("GET", at`/tasks/${taskId}/logs/${stream}`, { query });
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Bytes stored of a stream so far.
 * @param {string} taskId
 * @param {string} stream
 * @param {number | null} attempt
 * @param {AbortSignal} [signal]
 * @returns {Promise<number>}
 */
export async function logSize(taskId, stream, attempt, signal) {
  const answer = await send("GET", at`/tasks/${taskId}/logs/${stream}`, { query: { attempt, offset: 0, length: 1 }, signal });
  await answer.arrayBuffer();
  return Number(answer.headers.get("Log-Size") ?? 0);
}
