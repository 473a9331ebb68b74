// How old every figure is: elements that carry the moment of their figure, told anew every second.

import { duration, NOTHING } from "./format.js";

/**
 * @typedef {object} Aged
 * @property {number | null} at the figure's moment by this browser's clock, Unix milliseconds
 * @property {number} old seconds from which on it is marked as old
 * @property {string} words before the age
 */
/** @type {Map<HTMLElement, Aged>} */
const told = new Map();

/**
 * Tell in `element` how old something is, from now on.
 * @param {HTMLElement} element
 * @param {number | null} at this browser's clock, Unix milliseconds; null: it is not known
 * @param {{old?: number, words?: string}} [how]
 */
export function tellAge(element, at, how = {}) {
  const kept = told.get(element);
  const aged = { at, old: how.old ?? kept?.old ?? 60, words: how.words ?? kept?.words ?? "" };
  told.set(element, aged);
  show(element, aged, Date.now());
}

/** @param {HTMLElement} element is no longer shown */
export function forgetAge(element) {
  told.delete(element);
}

/** @param {HTMLElement} element @param {Aged} aged @param {number} now */
function show(element, aged, now) {
  const seconds = aged.at === null ? null : Math.max(0, (now - aged.at) / 1000);
  const text = seconds === null ? NOTHING : aged.words + duration(seconds);
  if (element.textContent !== text) element.textContent = text;
  element.classList.toggle("old", seconds === null || seconds > aged.old);
}

/** Begin to tell all ages, every second while the page is seen. */
export function startAges() {
  const all = () => {
    if (document.hidden) return;
    const now = Date.now();
    for (const [element, aged] of told) show(element, aged, now);
  };
  setInterval(all, 1000);
  document.addEventListener("visibilitychange", all);
}
