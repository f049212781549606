// How times, sizes and names are written for people.

import { el } from "./element.js";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

/**
 * Seconds as a short duration, such as `480 ms`, `2.1 s`, `3 min 5 s`.
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < MINUTE) return `${Math.round(s)} s`;
  if (s < HOUR) return `${Math.floor(s / MINUTE)} min ${Math.floor(s % MINUTE)} s`;
  if (s < DAY) return `${Math.floor(s / HOUR)} h ${Math.floor((s % HOUR) / MINUTE)} min`;
  return `${Math.floor(s / DAY)} d ${Math.floor((s % DAY) / HOUR)} h`;
}

/**
 * Seconds between two RFC 3339 times; the end defaults to now.
 * @param {string} from
 * @param {string | null} [to]
 */
export function secondsBetween(from, to) {
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

/**
 * A size in bytes, in powers of 1024.
 * @param {number} count
 * @returns {string}
 */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  let value = count;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    value /= 1024;
    if (value < 1024) return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(value)} TiB`;
}

/**
 * Where a time stands from now, such as `3 min ago` or `in 2 h`.
 * @param {string} instant RFC 3339
 */
export function relative(instant) {
  const s = (Date.parse(instant) - Date.now()) / 1000;
  const far = Math.abs(s);
  if (far < 2) return "just now";
  let words;
  if (far < MINUTE) words = `${Math.round(far)} s`;
  else if (far < HOUR) words = `${Math.round(far / MINUTE)} min`;
  else if (far < DAY) words = `${Math.round(far / HOUR)} h`;
  else words = `${Math.round(far / DAY)} d`;
  return s < 0 ? `${words} ago` : `in ${words}`;
}

/**
 * Date and time in the reader's zone, to the second.
 * @param {string} instant RFC 3339
 */
export function clock(instant) {
  const date = new Date(instant);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/**
 * A time element: relative words that keep up with the clock, the exact time as its title.
 * @param {string | null | undefined} instant
 */
export function timeElement(instant) {
  if (!instant) return el("span", { class: "dim" }, "–");
  return el("time", { datetime: instant, title: clock(instant), data: { relative: "" } }, relative(instant));
}

/** Bring every relative time on the page up to date. */
export function refreshTimes() {
  for (const node of document.querySelectorAll("time[data-relative]")) {
    const words = relative(/** @type {HTMLTimeElement} */ (node).dateTime);
    if (node.textContent !== words) node.textContent = words;
  }
}

/**
 * What a task does, in one line.
 * @param {any} task
 */
export function workText(task) {
  return commandText(task.command) || `(${task.runtime ?? "command"})`;
}

/**
 * The command of a task in one line.
 * @param {string | string[]} command
 */
export function commandText(command) {
  if (typeof command === "string") return command;
  return (command ?? []).map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

/**
 * The end of an id: ids begin with their time, so that the end tells neighbours apart.
 * @param {string} id
 */
export function shortId(id) {
  return id.length > 10 ? `…${id.slice(-8)}` : id;
}

/**
 * A count and its noun.
 * @param {number} count
 * @param {string} noun in the singular
 * @param {string} [plural]
 */
export function many(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}
