// Tasks finished per second over the last minute, as a number and a small curve.

import { onChanges } from "./changes.js";
import { el, setText } from "./element.js";
import { ENDED } from "./state.js";

const SECONDS = 60;
const WIDTH = 300;
const HEIGHT = 48;
const SVG = "http://www.w3.org/2000/svg";

/**
 * The curve; draws itself once a second.
 * @param {AbortSignal} signal
 * @returns {HTMLElement}
 */
export function rateCurve(signal) {
  /** Finished tasks by second, the present one last. */
  const buckets = new Array(SECONDS + 1).fill(0);
  let second = Math.floor(Date.now() / 1000);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "curve");
  svg.setAttribute("aria-hidden", "true");
  const area = document.createElementNS(SVG, "path");
  area.setAttribute("class", "area");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", "line");
  svg.append(area, line);
  const now = el("strong", { class: "figure" }, "0");
  const peak = el("span", { class: "dim" });

  const advance = () => {
    const present = Math.floor(Date.now() / 1000);
    for (let i = Math.min(present - second, buckets.length); i > 0; i -= 1) {
      buckets.shift();
      buckets.push(0);
    }
    second = present;
  };

  const draw = () => {
    advance();
    const past = buckets.slice(0, SECONDS); // the present second is not over yet
    const top = Math.max(1, ...past);
    const points = past.map((count, i) => `${((i / (SECONDS - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 2 - (count / top) * (HEIGHT - 6)).toFixed(1)}`);
    line.setAttribute("d", `M${points.join("L")}`);
    area.setAttribute("d", `M0,${HEIGHT}L${points.join("L")}L${WIDTH},${HEIGHT}Z`);
    const recent = past.slice(-5).reduce((sum, count) => sum + count, 0) / 5;
    setText(now, recent >= 10 || recent === 0 ? String(Math.round(recent)) : recent.toFixed(1));
    setText(peak, `peak ${Math.max(...past).toLocaleString("en")}/s in the last minute`);
  };

  onChanges((batch) => {
    advance();
    for (const change of batch) {
      if (!ENDED.has(change.state) || change.was === change.state || change.kind === "deleted") continue;
      const age = second - Math.floor(Date.parse(change.at) / 1000);
      const slot = SECONDS - Math.max(0, age);
      if (slot >= 0) buckets[slot] += 1;
    }
  }, signal);
  const timer = setInterval(draw, 1000);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  draw();
  return el("section", { class: "card rate", "aria-labelledby": "rate-title" },
    el("div", null, el("h2", { id: "rate-title" }, "Finished per second"), el("p", null, now, " ", peak)), svg);
}
