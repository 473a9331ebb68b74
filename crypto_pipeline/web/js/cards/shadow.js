// Variants that trade beside production.

import { make, setText } from "../dom.js";
import { decimal, NOTHING } from "../format.js";
import { addCard, nothing, reading } from "./card.js";
import { showTable } from "./table.js";

/** @returns {() => void} reads it now */
export function addShadowCard() {
  return addCard({ id: "shadow", title: "Shadow variants", every: 300, read: reading("shadow"), draw });
}

/** @param {number | null} value in percent of the capital */
function points(value) {
  if (value === null) return NOTHING;
  return `${value < 0 ? "−" : value > 0 ? "+" : ""}${decimal(Math.abs(value), 3)}`;
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function draw(body, found, aside) {
  aside.className = "muted";
  setText(aside, found.days === null ? "" : `${found.days[0]} to ${found.days[1]}`);
  if (found.variants.length === 0) {
    nothing(body, `Nothing is compared: ${found.because ?? "no variant has traded"}.`);
    return;
  }
  if (body.querySelector("table") === null) body.replaceChildren(make("p", { class: "muted words" }));
  setText(/** @type {HTMLElement} */ (body.firstElementChild), `In percent of the capital. Newest test: ${found.test_words}.`);
  showTable(body, {
    label: "Shadow variants",
    keyOf: (row) => `${row.strategy} ${row.variant}`,
    columns: [
      { name: "Variant", cell: (row) => row.variant },
      { name: "Strategy", kind: "left", cell: (row) => row.strategy },
      { name: "Trades", cell: (row) => String(row.trades) },
      { name: "Net", cell: (row) => points(row.net) },
      { name: "A day", cell: (row) => points(row.difference) },
      { name: "95 % interval", cell: (row) => `${points(row.low)} to ${points(row.high)}` },
      { name: "Cannot be because", kind: "words", cell: (row) => row.because || NOTHING },
    ],
  }, found.variants);
}
