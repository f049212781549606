// Runs before the first paint, so that a chosen theme does not flash the other one.
"use strict";
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("taskyard.theme");
  } catch {
    chosen = null; // storage is refused: the system's theme it is
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
