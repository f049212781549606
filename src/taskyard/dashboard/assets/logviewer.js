// The live output of one attempt: which stream, following, what is not shown.

import { at } from "./api.js";
import { el, fill } from "./element.js";
import { bytes } from "./format.js";
import { icon } from "./icon.js";
import { LogPieces } from "./logpiece.js";
import { LogScreen } from "./logscreen.js";
import { attempt as tryTo } from "./notice.js";
import { advice, asProblem, isAbort } from "./problem.js";
import { reasonText } from "./state.js";
import { follow } from "./stream.js";
import { logSize, saveLog } from "./download.js";

/** Bytes of the end of each stream that are shown when there is more. */
const TAIL_BYTES = 512 * 1024;
const STREAMS = ["stdout", "stderr"];
const WORDS = { connecting: "connecting", live: "following", waiting: "reconnecting", over: "complete" };

/** The viewer; shows one attempt at a time. */
export class LogViewer {
  /** @param {string} taskId @param {AbortSignal} signal */
  constructor(taskId, signal) {
    this.taskId = taskId;
    this.signal = signal;
    /** Number of the attempt that is shown. @type {number | null} */
    this.attempt = null;
    this.stay = new AbortController();
    signal.addEventListener("abort", () => this.stay.abort(), { once: true });
    this.screen = new LogScreen();
    this.status = el("span", { class: "dim", role: "status" });
    this.skipped = el("p", { class: "hint", hidden: true });
    this.jump = el("button", { type: "button", class: "small jump", hidden: true, onclick: () => this.screen.toEnd() }, icon("down"), "To the end");
    this.screen.onPin = (pinned) => { this.jump.hidden = pinned; };
    this.screen.onTrim = () => this.tellSkipped();
    const tabs = [["both", "Both"], ["stdout", "stdout"], ["stderr", "stderr"]].map(([key, words], i) =>
      el("button", { type: "button", "aria-pressed": String(i === 0), onclick: () => choose(key) }, words));
    const choose = (/** @type {string} */ key) => {
      tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", String(["both", "stdout", "stderr"][i] === key)));
      this.screen.node.dataset.only = key;
      if (this.screen.pinned) this.screen.toEnd();
    };
    const wrap = el("input", { type: "checkbox", checked: true, onchange: () => this.screen.node.classList.toggle("unwrapped", !wrap.checked) });
    this.node = el("div", { class: "logbox card flush" },
      el("div", { class: "logbar row wrap" },
        el("div", { class: "segments", role: "group", "aria-label": "Streams" }, tabs),
        el("label", { class: "inline-check" }, wrap, "Wrap"),
        el("span", { class: "grow" }), this.status,
        ["both", ...STREAMS].map((stream) => el("button", { type: "button", class: "small", title: `Download all of ${stream}`, "aria-label": `Download all of ${stream}`, onclick: () => tryTo("The output was not saved", () => saveLog(taskId, stream, this.attempt)) }, icon("download"), stream))),
      this.skipped, el("div", { class: "logframe" }, this.screen.node, this.jump));
  }

  /**
   * Show an attempt, from its last half megabyte on.
   * @param {number} number
   */
  async show(number) {
    if (this.attempt === number) return;
    this.attempt = number;
    this.stay.abort();
    const stay = new AbortController();
    this.stay = stay;
    this.screen.clear();
    this.skipped.hidden = true;
    if (this.signal.aborted) return;
    /** @type {Record<string, LogPieces>} */
    const pieces = {};
    try {
      const sizes = await Promise.all(STREAMS.map((stream) => logSize(this.taskId, stream, number, stay.signal).catch(zeroIfGone)));
      STREAMS.forEach((stream, i) => { pieces[stream] = new LogPieces(Math.max(0, sizes[i] - TAIL_BYTES)); });
      this.tail = STREAMS.some((stream) => pieces[stream].offset > 0);
    } catch (error) {
      if (isAbort(error)) return;
      const problem = asProblem(error);
      this.screen.remark(`The output could not be loaded: ${problem.message}. ${advice(problem)}`);
      this.attempt = null;
      return;
    }
    if (stay.signal.aborted) return;
    if (this.tail) this.tellSkipped();
    this.dropped = { stdout: 0, stderr: 0 };
    await follow({
      socket: at`/tasks/${this.taskId}/logs/ws`,
      events: at`/tasks/${this.taskId}/logs/follow`,
      query: () => ({ attempt: number, stdout: pieces.stdout.offset, stderr: pieces.stderr.offset }),
      onMessage: (message) => this.take(message, pieces),
      onStatus: (status, problem) => {
        if (stay.signal.aborted) return;
        this.status.textContent = problem ? `${problem.message}. ${advice(problem)}` : WORDS[status];
        this.node.dataset.status = status;
      },
      signal: stay.signal,
    });
  }

  /** @param {any} message @param {Record<string, LogPieces>} pieces @returns {boolean} whether it was the last */
  take(message, pieces) {
    if (message.type === "output") {
      const piece = pieces[message.stream];
      const { text, missing } = piece.take(message);
      if (missing > 0) this.screen.remark(`${bytes(missing)} of ${message.stream} are missing here`);
      this.screen.write(message.stream, text);
      return false;
    }
    if (message.type !== "exit") return false;
    for (const stream of STREAMS) {
      this.screen.write(stream, pieces[stream].finish());
      const dropped = message[`${stream}_dropped`];
      if (dropped > 0) this.screen.remark(`${bytes(dropped)} of ${stream} beyond its limit were not kept`);
      const missing = message[`${stream}_missing`] ?? 0;
      if (missing > 0) this.screen.remark(`${bytes(missing)} of ${stream} are gone: deleted from the server’s disk, or damaged`);
    }
    this.screen.remark(ending(message));
    return true;
  }

  tellSkipped() {
    this.skipped.hidden = false;
    fill(this.skipped, "Earlier output is not shown here; download a stream to have all of it.");
  }
}

/** Of output that is gone the follower tells, with what is left. @param {unknown} error @returns {number} */
function zeroIfGone(error) {
  const problem = asProblem(error);
  if (problem.status === 500) return 0;
  throw problem;
}

/** How an attempt ended, in one line. @param {any} message */
function ending(message) {
  const how = message.signal ? `died of ${message.signal}` : message.exit_code === null ? "ended" : `exited with code ${message.exit_code}`;
  const why = message.reason && !["exit_code", "killed"].includes(message.reason) ? `, ${reasonText(message.reason)}` : "";
  return `attempt ${message.attempt} ${how} (${message.state}${why})`;
}
