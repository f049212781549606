// Puts the pieces of one output stream together by byte offset: nothing twice, gaps told, bytes
// that are no UTF-8 shown as U+FFFD.

/** Where one stream is, and the bytes of a character that is not complete yet. */
export class LogPieces {
  /** @param {number} offset bytes to begin at */
  constructor(offset) {
    this.offset = offset;
    this.decoder = new TextDecoder("utf-8");
  }

  /**
   * Take an `output` message.
   * @param {{offset: number, next_offset: number, text?: string, base64?: string}} message
   * @returns {{text: string, missing: number}} new text, and bytes skipped before it
   */
  take(message) {
    if (message.next_offset <= this.offset) return { text: "", missing: 0 };
    const missing = Math.max(0, message.offset - this.offset);
    const known = Math.max(0, this.offset - message.offset);
    this.offset = message.next_offset;
    if (message.text !== undefined && known === 0) {
      // Text begins at a character: whatever was incomplete before it stays incomplete.
      return { text: this.decoder.decode() + message.text, missing };
    }
    const raw = message.text !== undefined ? new TextEncoder().encode(message.text)
      : Uint8Array.from(atob(message.base64 ?? ""), (char) => char.charCodeAt(0));
    return { text: this.decoder.decode(raw.subarray(known), { stream: true }), missing };
  }

  /** What is left at the end of the stream: a cut character, as U+FFFD. */
  finish() {
    return this.decoder.decode();
  }
}
