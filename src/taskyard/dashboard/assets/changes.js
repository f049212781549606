// The one stream of changes of the workspace, shared by whatever is on the page, and handed on in
// batches: at most four a second, however much happens.

import { follow } from "./stream.js";

/**
 * @typedef {{kind: string, at: string, task_id: string, group: string, state: string, was: string | null,
 *   attempt_id: string | null, attempt_number: number | null, reason: string | null}} Change
 * @typedef {(batch: Change[], gap: boolean) => void} Listener `gap`: something was missed, fetch again
 */

const BATCH_MS = 250;
const BATCH_LIMIT = 20_000;
const STATUS = new EventTarget();

/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {Change[]} */
let batch = [];
let gap = false;
let timer = 0;
/** @type {AbortController | null} */
let connection = null;
let status = "off";
let wasLive = false;

/** Connect; called once somebody is signed in. */
export function startChanges() {
  stopChanges();
  const mine = new AbortController();
  connection = mine;
  wasLive = false;
  void follow({
    socket: "/events/ws",
    events: "/events/stream",
    query: () => ({}),
    onMessage: take,
    onStatus: (now) => {
      if (connection !== mine) return;
      if (now === "live") {
        if (wasLive) missed(); // what happened while the line was down was not heard
        wasLive = true;
      }
      setStatus(now);
    },
    signal: mine.signal,
  });
}

/** Disconnect, at sign-out. */
export function stopChanges() {
  connection?.abort();
  connection = null;
  clearTimeout(timer);
  timer = 0;
  batch = [];
  gap = false;
  setStatus("off");
}

/**
 * Hear of changes until the signal aborts.
 * @param {Listener} listener
 * @param {AbortSignal} signal
 */
export function onChanges(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener), { once: true });
}

/**
 * Hear of the state of the connection: `off`, `connecting`, `live`, `waiting`, `over`.
 * @param {(status: string) => void} listener
 * @param {AbortSignal} signal
 */
export function onStatus(listener, signal) {
  STATUS.addEventListener("change", () => listener(status), { signal });
  listener(status);
}

/** @param {string} now */
function setStatus(now) {
  if (now === status) return;
  status = now;
  STATUS.dispatchEvent(new Event("change"));
}

/** @param {any} message */
function take(message) {
  if (message.type === "gap") missed();
  else if (message.type === "change") {
    if (batch.length < BATCH_LIMIT) batch.push(message);
    else gap = true;
    schedule();
  }
}

function missed() {
  gap = true;
  schedule();
}

function schedule() {
  if (timer) return;
  timer = setTimeout(() => {
    const now = batch;
    const missing = gap;
    timer = 0;
    batch = [];
    gap = false;
    for (const listener of [...listeners]) listener(now, missing);
  }, BATCH_MS);
}
