// Search: an instrument, a timeframe, or both, such as `btc 1h`; also a venue or a part of the page.

import { byId, make } from "./dom.js";
import { go, place, TIMEFRAMES } from "./place.js";

const MOST = 12;

/**
 * @typedef {object} Found
 * @property {string} words
 * @property {string} about
 * @property {() => void} choose
 */

/** @param {() => {instrument: string, venue: string | null}[]} instruments that there are */
export function startSearch(instruments) {
  const text = byId("search-text");
  const list = byId("search-found");
  /** @type {Found[]} */
  let found = [];
  let at = 0;

  const close = () => {
    list.hidden = true;
    text.setAttribute("aria-expanded", "false");
    text.removeAttribute("aria-activedescendant");
  };
  const mark = () => {
    [...list.children].forEach((each, index) => each.setAttribute("aria-selected", String(index === at)));
    text.setAttribute("aria-activedescendant", `found-${at}`);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  const choose = () => {
    const chosen = found[at];
    if (chosen === undefined) return;
    close();
    text.value = "";
    text.blur();
    chosen.choose();
  };
  const show = () => {
    found = search(text.value, instruments());
    at = 0;
    list.replaceChildren(...found.map((one, index) => {
      const entry = make("li", { role: "option", id: `found-${index}` }, one.words, " ", make("small", {}, one.about));
      entry.addEventListener("mousedown", (/** @type {Event} */ event) => {
        event.preventDefault();
        at = index;
        choose();
      });
      return entry;
    }));
    list.hidden = found.length === 0;
    text.setAttribute("aria-expanded", String(found.length > 0));
    if (found.length > 0) mark();
  };
  text.addEventListener("input", show);
  text.addEventListener("focus", show);
  text.addEventListener("blur", close);
  text.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) show();
      else {
        at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
        mark();
      }
    } else if (event.key === "Escape") {
      text.value = "";
      text.blur();
    }
  });
  byId("search").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    choose();
  });
}

/**
 * @param {string} typed
 * @param {{instrument: string, venue: string | null}[]} instruments
 * @returns {Found[]} the best first
 */
export function search(typed, instruments) {
  const words = typed.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const timeframe = words.find((word) => TIMEFRAMES.includes(word));
  const rest = words.filter((word) => word !== timeframe);
  const chosen = timeframe ?? place().timeframe;
  const known = place().instrument;
  const matching = rest.length === 0 && timeframe !== undefined && known !== null
    ? instruments.filter((one) => one.instrument === known)
    : instruments.filter((one) => rest.every((word) => `${one.instrument} ${one.venue ?? ""}`.toLowerCase().includes(word)));
  const first = rest[0] ?? "";
  matching.sort((a, b) => Number(b.instrument.toLowerCase().startsWith(first)) - Number(a.instrument.toLowerCase().startsWith(first)));
  const parts = [...document.querySelectorAll("#cards > section")].filter((one) =>
    rest.length > 0 && timeframe === undefined && rest.every((word) => (one.querySelector("h2")?.textContent ?? "").toLowerCase().includes(word)));
  return [
    ...matching.map((one) => ({ words: `${one.instrument} ${chosen}`, about: one.venue ?? "", choose: () => go({ instrument: one.instrument, timeframe: chosen }) })),
    ...parts.map((one) => ({ words: one.querySelector("h2")?.textContent ?? "", about: "part of this page", choose: () => one.scrollIntoView() })),
  ].slice(0, MOST);
}
