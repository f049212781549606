// A live stream of JSON messages that reconnects. A token goes over a WebSocket. A user with a
// password cannot (browsers set no headers there), so that one reads the same messages as
// server-sent events through fetch; so does a token where a proxy lets no WebSocket through.

import { BASE, queryText, send } from "./api.js";
import { asProblem, isAbort, Problem } from "./problem.js";
import { credential } from "./session.js";

/**
 * @typedef {object} StreamOptions
 * @property {string} socket path of the WebSocket behind the base
 * @property {string} events path of the server-sent events behind the base
 * @property {() => Record<string, any>} query asked again for every connection
 * @property {(message: any) => boolean | void} onMessage true when the stream is over for good
 * @property {(status: "connecting" | "live" | "waiting" | "over", problem: Problem | null) => void} [onStatus]
 * @property {AbortSignal} signal
 */

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;
const SOCKET_TRIES = 2;

/**
 * Keep a stream open until it is over, refused, or the signal aborts.
 * @param {StreamOptions} options
 */
export async function follow(options) {
  const { signal, onStatus = () => {} } = options;
  let wait = FIRST_WAIT_MS;
  let failedSockets = 0;
  while (!signal.aborted) {
    onStatus("connecting", null);
    let opened = false;
    const onOpen = () => {
      opened = true;
      wait = FIRST_WAIT_MS;
      onStatus("live", null);
    };
    /** @type {Problem | null} */
    let problem = null;
    try {
      const held = credential();
      const viaSocket = held?.kind === "token" && failedSockets < SOCKET_TRIES;
      const over = viaSocket ? await readSocket(options, held.token, onOpen) : await readEvents(options, onOpen);
      if (viaSocket) failedSockets = opened ? 0 : failedSockets + 1;
      if (over) {
        onStatus("over", null);
        return;
      }
    } catch (error) {
      if (isAbort(error)) return;
      problem = asProblem(error);
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
        onStatus("over", problem);
        return;
      }
    }
    if (signal.aborted) return;
    onStatus("waiting", problem);
    await pause(wait * (0.75 + Math.random() / 2), signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/**
 * One WebSocket from open to close.
 * @param {StreamOptions} options
 * @param {string} token
 * @param {() => void} onOpen
 * @returns {Promise<boolean>} whether the stream is over for good
 */
function readSocket(options, token, onOpen) {
  const url = new URL(BASE + options.socket + queryText({ ...options.query(), access_token: token }), location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    let over = false;
    const leave = () => {
      // Browsers complain in the console about one that is closed before it was open.
      if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
      else socket.close();
    };
    options.signal.addEventListener("abort", leave, { once: true });
    socket.onopen = onOpen;
    socket.onmessage = (event) => {
      if (over || options.signal.aborted) return;
      try {
        over = options.onMessage(JSON.parse(event.data)) === true;
      } catch (error) {
        socket.close();
        reject(error);
      }
      if (over) socket.close();
    };
    socket.onclose = () => {
      options.signal.removeEventListener("abort", leave);
      resolve(over);
    };
  });
}

/**
 * One answer of server-sent events, from its start to its end.
 * @param {StreamOptions} options
 * @param {() => void} onOpen
 * @returns {Promise<boolean>} whether the stream is over for good
 */
async function readEvents(options, onOpen) {
  const answer = await send("GET", options.events, { query: options.query(), signal: options.signal });
  if (!answer.body) throw new Problem(0, { detail: "the server sent an empty stream" });
  onOpen();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      const blocks = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data && options.onMessage(JSON.parse(data)) === true) return true;
      }
    }
  } catch (error) {
    if (options.signal.aborted) return false;
    if (error instanceof SyntaxError) throw error;
    return false; // the connection broke; the caller reconnects
  } finally {
    await reader.cancel().catch(() => undefined); // it may be broken already, which is as good
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
