// Tables of cards. The rows that stay are kept from one read to the next.

import { keyed, make, setText } from "../dom.js";
import { go } from "../place.js";

/**
 * @typedef {object} Column
 * @property {string} name head of the column
 * @property {(row: any) => string | Node} cell text, or an element
 * @property {(row: any) => string} [tone] class of the cell
 * @property {string} [kind] class of head and cells: left, words
 */

/**
 * Show rows in the table of a body, which is made when it is not there.
 * @param {HTMLElement} body
 * @param {object} table
 * @param {string} table.label what the table holds, for screen readers
 * @param {Column[]} table.columns the first is the row's head
 * @param {(row: any) => string} table.keyOf
 * @param {any[]} rows
 */
export function showTable(body, { label, columns, keyOf }, rows) {
  let found = /** @type {HTMLElement | null} */ (body.querySelector(`table[aria-label="${CSS.escape(label)}"] > tbody`));
  if (found === null) {
    const head = columns.map((one) => make("th", { scope: "col", class: one.kind }, one.name));
    found = /** @type {HTMLElement} */ (make("tbody"));
    const table = make("table", { "aria-label": label }, make("thead", {}, make("tr", {}, ...head)), found);
    body.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, scrolls sideways` }, table));
  }
  keyed(found, rows, keyOf, () => rowOf(columns), (element, row) => fill(element, columns, row));
}

/** @param {Column[]} columns */
function rowOf(columns) {
  return make("tr", {}, ...columns.map((one, at) => make(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: one.kind })));
}

/** @param {HTMLElement} element @param {Column[]} columns @param {any} row */
function fill(element, columns, row) {
  columns.forEach((column, at) => {
    const cell = /** @type {HTMLElement} */ (element.children[at]);
    const shown = column.cell(row);
    if (typeof shown === "string") setText(cell, shown);
    else if (cell.firstChild === null || cell.textContent !== shown.textContent) cell.replaceChildren(shown);
    if (column.tone !== undefined) cell.className = `${column.kind ?? ""} ${column.tone(row)}`.trim();
  });
}

/** A button that shows an instrument on the chart. @param {string} instrument */
export function chooser(instrument) {
  const button = make("button", { type: "button", class: "plain" }, instrument);
  button.addEventListener("click", () => go({ instrument }));
  return button;
}

/** A link into Dagster, from wherever the page is seen. @param {string} url @param {string} words */
export function dagsterLink(url, words) {
  return make("a", { href: reachable(url), rel: "noreferrer" }, words);
}

/** The address of a server of this machine, under the name by which the page itself was reached. @param {string} url */
export function reachable(url) {
  const made = new URL(url);
  const own = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"];
  if (own.includes(made.hostname) && !own.includes(location.hostname)) made.hostname = location.hostname;
  return made.href;
}
