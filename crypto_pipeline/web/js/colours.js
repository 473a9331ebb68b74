// The button that chooses light or dark colours; without a choice the system's hold.

import { byId } from "./dom.js";

const KEPT = "theme";
const STEPS = /** @type {const} */ (["auto", "light", "dark"]);
const NAMES = { auto: "as the system", light: "light", dark: "dark" };

/** @returns {"auto" | "light" | "dark"} */
function chosen() {
  const kept = document.documentElement.dataset.theme;
  return kept === "light" || kept === "dark" ? kept : "auto";
}

/** The next choice. A `colours` event on the document tells who draws on a canvas. */
export function nextColours() {
  const next = STEPS[(STEPS.indexOf(chosen()) + 1) % STEPS.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEPT, next);
  } catch {
    // storage is refused: the choice holds until the page is left
  }
  say();
  tell();
}

function say() {
  byId("theme").setAttribute("aria-label", `Colours: ${NAMES[chosen()]}`);
  byId("theme").title = `Colours: ${NAMES[chosen()]}`;
}

function tell() {
  document.dispatchEvent(new CustomEvent("colours"));
}

/** Make the button work. */
export function startColours() {
  byId("theme").addEventListener("click", nextColours);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  say();
}
