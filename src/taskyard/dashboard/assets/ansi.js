// Reads terminal output: colours become styles, every other escape sequence is dropped, and what
// a terminal would not print is shown as its symbol. Nothing here makes markup.

/**
 * @typedef {object} Style
 * @property {string} classes such as `bold fg-2`
 * @property {string} color CSS colour of an extended colour; empty otherwise
 * @property {string} background the same, behind the text
 * @typedef {{kind: "text", text: string, style: Style} | {kind: "newline"} | {kind: "return"}} Token
 */

const LONGEST_ESCAPE = 4096;
// eslint-disable-next-line no-control-regex -- control characters are the subject
const SPECIAL = /[\x00-\x08\x0a-\x1f\x7f\x9b]/g;
const PLAIN = Object.freeze({ classes: "", color: "", background: "" });

/** A reader with memory: sequences and styles may span pieces of output. */
export class AnsiReader {
  constructor() {
    this.rest = "";
    /** @type {Set<string>} */
    this.flags = new Set();
    this.foreground = "";
    this.backdrop = "";
    /** @type {Style} */
    this.style = PLAIN;
  }

  /** Back to plain text. */
  reset() {
    this.flags.clear();
    this.foreground = "";
    this.backdrop = "";
    this.style = PLAIN;
  }

  /**
   * @param {string} piece
   * @returns {Token[]}
   */
  read(piece) {
    const text = this.rest + piece;
    this.rest = "";
    /** @type {Token[]} */
    const tokens = [];
    let from = 0;
    const flush = (/** @type {number} */ to) => {
      if (to > from) tokens.push({ kind: "text", text: text.slice(from, to), style: this.style });
    };
    SPECIAL.lastIndex = 0;
    for (let hit = SPECIAL.exec(text); hit; hit = SPECIAL.exec(text)) {
      const start = hit.index;
      const char = hit[0];
      flush(start);
      from = start + 1;
      if (char === "\n") tokens.push({ kind: "newline" });
      else if (char === "\r") {
        if (text[from] !== "\n") {
          if (from === text.length) {
            this.rest = "\r"; // the next piece tells whether this ends a line or rewrites it
            return tokens;
          }
          tokens.push({ kind: "return" });
        }
      } else if (char === "\x1b" || char === "\x9b") {
        const end = this.escape(text, start, char === "\x9b");
        if (end < 0) {
          if (text.length - start < LONGEST_ESCAPE) {
            this.rest = text.slice(start);
            return tokens;
          }
          continue;
        }
        from = end;
        SPECIAL.lastIndex = end;
      } else {
        const symbol = char === "\x7f" ? "␡" : String.fromCharCode(0x2400 + char.charCodeAt(0));
        tokens.push({ kind: "text", text: symbol, style: this.style });
      }
    }
    flush(text.length);
    return tokens;
  }

  /**
   * Where the escape sequence at `start` ends; -1 while its end is not there yet.
   * @param {string} text @param {number} start @param {boolean} single
   */
  escape(text, start, single) {
    const kind = single ? "[" : text[start + 1];
    const body = start + (single ? 1 : 2);
    if (kind === undefined) return -1;
    if (kind === "[") {
      const form = /[0-9:;<=>?]*[ -/]*/y;
      form.lastIndex = body;
      const params = form.exec(text)?.[0] ?? "";
      const end = body + params.length;
      if (end >= text.length) return -1;
      if (text[end] === "m") this.select(params);
      // What ends no sequence begins something else, such as a line: leave it to the reader.
      return /[@-~]/.test(text[end]) ? end + 1 : end;
    }
    if ("]PX^_".includes(kind)) {
      // eslint-disable-next-line no-control-regex -- ends with BEL or ST
      const end = /\x07|\x1b\\/g;
      end.lastIndex = body;
      const hit = end.exec(text);
      return hit ? hit.index + hit[0].length : -1;
    }
    if ("()*+-./# %".includes(kind)) return text.length > body ? body + 1 : -1;
    return body;
  }

  /** Apply a "select graphic rendition" sequence. @param {string} params */
  select(params) {
    const codes = params.split(/[;:]/).map((code) => Number(code || 0));
    for (let i = 0; i < codes.length; i += 1) {
      const code = codes[i];
      if (code === 0) this.reset();
      else if (code === 1) this.flags.add("bold");
      else if (code === 2) this.flags.add("faint");
      else if (code === 3) this.flags.add("italic");
      else if (code === 4) this.flags.add("underline");
      else if (code === 7) this.flags.add("inverse");
      else if (code === 9) this.flags.add("strike");
      else if (code === 22) { this.flags.delete("bold"); this.flags.delete("faint"); }
      else if (code === 23) this.flags.delete("italic");
      else if (code === 24) this.flags.delete("underline");
      else if (code === 27) this.flags.delete("inverse");
      else if (code === 29) this.flags.delete("strike");
      else if (code >= 30 && code <= 37) this.foreground = `fg-${code - 30}`;
      else if (code >= 90 && code <= 97) this.foreground = `fg-${code - 82}`;
      else if (code >= 40 && code <= 47) this.backdrop = `bg-${code - 40}`;
      else if (code >= 100 && code <= 107) this.backdrop = `bg-${code - 92}`;
      else if (code === 39) this.foreground = "";
      else if (code === 49) this.backdrop = "";
      else if (code === 38 || code === 48) {
        const wide = codes[i + 1] === 2;
        const color = wide ? rgb(codes.slice(i + 2, i + 5)) : indexed(codes[i + 2] ?? 0, code === 38 ? "fg" : "bg");
        i += wide ? 4 : 2;
        if (code === 38) this.foreground = color;
        else this.backdrop = color;
      }
    }
    const named = [this.foreground, this.backdrop].filter((one) => /^[fb]g-/.test(one));
    this.style = {
      classes: [...this.flags, ...named].join(" "),
      color: this.foreground.startsWith("rgb") ? this.foreground : "",
      background: this.backdrop.startsWith("rgb") ? this.backdrop : "",
    };
  }
}

/** @param {number[]} parts */
function rgb(parts) {
  return `rgb(${[0, 1, 2].map((i) => Math.min(255, Math.max(0, Math.trunc(parts[i]) || 0))).join(" ")})`;
}

/** A colour of the palette of 256. @param {number} index @param {"fg" | "bg"} where */
function indexed(index, where) {
  if (index < 16) return `${where}-${index}`;
  if (index >= 232) return rgb(new Array(3).fill(8 + 10 * (index - 232)));
  const level = (/** @type {number} */ n) => (n === 0 ? 0 : 55 + 40 * n);
  const cube = index - 16;
  return rgb([level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]);
}
