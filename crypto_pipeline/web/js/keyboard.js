// Keys, and the dialog that lists them. A person may switch single keys off.

import { nextColours } from "./colours.js";
import { byId, make } from "./dom.js";
import { go, TIMEFRAMES } from "./place.js";
import { neighbour } from "./watchlist.js";

const KEPT = "single-keys";
/** @type {[string[], string, (key: string) => void][]} keys, what they do, doing it */
const KEYS = [
  [["/"], "search an instrument or timeframe", () => byId("search-text").focus()],
  [["j", "k"], "next and previous instrument", (key) => go({ instrument: neighbour(key === "j" ? 1 : -1) })],
  [["1", "2", "3", "4", "5", "6", "7", "8"], `timeframe: ${TIMEFRAMES.join(", ")}`, (key) => go({ timeframe: TIMEFRAMES[Number(key) - 1] })],
  [["c"], "go to the chart", () => byId("chart").focus()],
  [["t"], "colours: system, light, dark", nextColours],
  [["?"], "this help", () => byId("help").showModal()],
];

/** Make the keys work. */
export function startKeyboard() {
  const on = byId("help-on");
  on.checked = localStorage.getItem(KEPT) !== "off";
  on.addEventListener("change", () => localStorage.setItem(KEPT, on.checked ? "on" : "off"));
  for (const [keys, words] of KEYS) {
    const shown = keys.length > 2 ? [keys[0], " to ", /** @type {string} */ (keys.at(-1))] : keys.flatMap((key, at) => (at ? [" ", key] : [key]));
    byId("help-keys").append(
      make("dt", {}, ...shown.map((each) => (each.trim() && each !== " to " ? make("kbd", {}, each) : each))), make("dd", {}, words),
    );
  }
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const typing = target.matches("input:not([type=checkbox], [type=range]), textarea, select") || target.isContentEditable;
    if (typing || !on.checked || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const found = KEYS.find(([keys]) => keys.includes(event.key));
    if (found === undefined) return;
    event.preventDefault();
    found[2](event.key);
  });
}
