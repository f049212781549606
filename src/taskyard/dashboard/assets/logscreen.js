// Shows output line by line. Memory is bounded: the oldest blocks of lines go once there is more
// than about 2 MB or 20,000 lines. The browser skips the layout of blocks that are out of sight.

import { AnsiReader } from "./ansi.js";
import { el } from "./element.js";

const LIMIT_CHARS = 2_000_000;
const LIMIT_LINES = 20_000;
const BLOCK_LINES = 200;
const LONGEST_LINE = 8000;
const LINE_PX = 19;
const DRAW_MS = 100;
const NEAR_END_PX = 40;

/** @typedef {{node: HTMLElement, lines: number, chars: number}} Block */
/** @typedef {{node: HTMLElement, chars: number, block: Block, reader: AnsiReader}} OpenLine */

/** A scrolling area that text of two streams can be written to. */
export class LogScreen {
  constructor() {
    this.node = el("div", { class: "log", tabindex: "0", role: "log", "aria-label": "Output", "aria-live": "off" });
    /** Told when the oldest lines were dropped. */
    this.onTrim = () => {};
    /** Told whether the view sticks to the end. @type {(pinned: boolean) => void} */
    this.onPin = () => {};
    this.pinned = true;
    /** @type {Block[]} */
    this.blocks = [];
    this.chars = 0;
    this.lines = 0;
    /** @type {Map<string, {open: OpenLine | null, reader: AnsiReader}>} */
    this.streams = new Map();
    /** @type {{stream: string, text: string}[]} */
    this.pending = [];
    this.pendingChars = 0;
    this.timer = 0;
    this.top = 0;
    this.height = 0;
    this.node.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.node;
      // Upwards without the content having shrunk: that was the reader.
      if (scrollHeight - scrollTop - clientHeight < NEAR_END_PX) this.pin(true);
      else if (scrollTop < this.top && scrollHeight >= this.height) this.pin(false);
      this.top = scrollTop;
      this.height = scrollHeight;
    }, { passive: true });
  }

  /** Forget everything, for another attempt. */
  clear() {
    this.node.replaceChildren();
    this.blocks = [];
    this.chars = 0;
    this.lines = 0;
    this.streams.clear();
    this.pending = [];
    this.pendingChars = 0;
    clearTimeout(this.timer);
    this.timer = 0;
    this.pin(true);
  }

  /** @param {boolean} on */
  pin(on) {
    if (this.pinned === on) return;
    this.pinned = on;
    this.onPin(on);
  }

  toEnd() {
    this.pin(true);
    this.node.scrollTop = this.node.scrollHeight;
    // Blocks that come into sight get their real heights with the next frame only.
    requestAnimationFrame(() => {
      if (this.pinned) this.node.scrollTop = this.node.scrollHeight;
    });
  }

  /**
   * Add output; it is drawn within a tenth of a second.
   * @param {string} stream
   * @param {string} text
   */
  write(stream, text) {
    if (!text) return;
    this.pending.push({ stream, text });
    this.pendingChars += text.length;
    while (this.pendingChars > LIMIT_CHARS && this.pending.length > 1) {
      this.pendingChars -= this.pending.shift()?.text.length ?? 0; // would be dropped at once anyway
      this.onTrim();
    }
    this.timer ||= setTimeout(() => this.draw(), DRAW_MS);
  }

  /**
   * Add a remark of the page itself.
   * @param {string} text
   */
  remark(text) {
    this.draw();
    this.append(el("div", { class: "line remark" }, text), text.length);
    this.settle();
  }

  /** Draw what has been written since. */
  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const pending = this.pending;
    this.pending = [];
    this.pendingChars = 0;
    for (const { stream, text } of pending) this.put(stream, text);
    this.settle();
  }

  /** @param {string} stream @param {string} text */
  put(stream, text) {
    let state = this.streams.get(stream);
    if (!state) this.streams.set(stream, state = { open: null, reader: new AnsiReader() });
    for (const token of state.reader.read(text)) {
      if (token.kind === "newline") {
        state.open ??= this.begin(stream, state.reader);
        state.open = null;
      } else if (token.kind === "return") {
        // Progress bars draw over their line: only the last drawing is kept.
        if (state.open) {
          state.open.node.replaceChildren();
          this.count(state.open, -state.open.chars);
        }
      } else {
        for (let from = 0; from < token.text.length; from += LONGEST_LINE) {
          if (state.open && state.open.chars >= LONGEST_LINE) state.open = null; // shown in parts
          state.open ??= this.begin(stream, state.reader);
          const part = token.text.slice(from, from + LONGEST_LINE);
          state.open.node.appendChild(run(part, token.style));
          this.count(state.open, part.length);
        }
      }
    }
  }

  /** @param {string} stream @param {AnsiReader} reader @returns {OpenLine} */
  begin(stream, reader) {
    const node = el("div", { class: `line ${stream}` });
    return { node, chars: 0, reader, block: this.append(node, 1) };
  }

  /** @param {OpenLine} line @param {number} chars */
  count(line, chars) {
    line.chars += chars;
    line.block.chars += chars;
    this.chars += chars;
  }

  /** @param {HTMLElement} node @param {number} chars @returns {Block} */
  append(node, chars) {
    let block = this.blocks.at(-1);
    if (!block || block.lines >= BLOCK_LINES) {
      if (block) {
        block.node.classList.add("done");
        block.node.style.containIntrinsicBlockSize = `auto ${block.lines * LINE_PX}px`;
      }
      block = { node: el("div", { class: "block" }), lines: 0, chars: 0 };
      this.blocks.push(block);
      this.node.appendChild(block.node);
    }
    block.node.appendChild(node);
    block.lines += 1;
    block.chars += chars;
    this.lines += 1;
    this.chars += chars;
    return block;
  }

  /** Drop what is too much, and stay at the end if the reader is there. */
  settle() {
    let trimmed = false;
    while ((this.chars > LIMIT_CHARS || this.lines > LIMIT_LINES) && this.blocks.length > 1) {
      const block = /** @type {Block} */ (this.blocks.shift());
      block.node.remove();
      this.chars -= block.chars;
      this.lines -= block.lines;
      trimmed = true;
      for (const state of this.streams.values()) if (state.open?.block === block) state.open = null;
    }
    if (trimmed) this.onTrim();
    if (this.pinned) this.toEnd();
  }
}

/** A piece of text in its style. @param {string} text @param {import("./ansi.js").Style} style */
function run(text, style) {
  if (!style.classes && !style.color && !style.background) return document.createTextNode(text);
  const node = el("span", { class: style.classes }, text);
  if (style.color) node.style.color = style.color;
  if (style.background) node.style.backgroundColor = style.background;
  return node;
}
