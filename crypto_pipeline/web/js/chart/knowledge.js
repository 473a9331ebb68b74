// The moments at which what is known of the loaded span changed.

import { millis } from "./times.js";

/**
 * Moments, ascending, each just after a change: bars read as of it show what was known from then on.
 * @param {import("./series.js").Series} series
 * @returns {number[]}
 */
export function changesOfKnowledge({ revisions, window }) {
  /** @type {Set<number>} */
  const found = new Set();
  const add = (/** @type {any} */ value) => {
    const moment = millis(value);
    // the API's times have microseconds: the next millisecond is after them
    if (moment !== null) found.add(moment + 1);
  };
  for (const copies of revisions.values()) for (const copy of copies) add(copy.superseded_at);
  for (const row of window.gaps) {
    add(row.first_seen);
    add(row.closed_at);
  }
  return [...found].sort((a, b) => a - b);
}
