// The ledger at a glance: open holes by their reason, and the newest of them in the ledger's words.

import { setText } from "../dom.js";
import { shortStamp, whole } from "../format.js";
import { TIMEFRAMES } from "../place.js";
import { nothing } from "./card.js";
import { chooser, showTable } from "./table.js";

const MOST = 12;
/** States that no reason explains. */
const UNEXPLAINED = new Set(["lost", "pending", "unproven"]);

/**
 * @typedef {object} Hole rows of the ledger with the same reason, span and timeframe
 * @property {string} state
 * @property {string} start
 * @property {string} end
 * @property {string} timeframe
 * @property {number} bars of all instruments
 * @property {string[]} instruments
 * @property {string} because
 */

/** @param {HTMLElement} body @param {any} found rows of `GET /gaps` @param {HTMLElement} aside */
export function drawHoles(body, found, aside) {
  const holes = merged(found.rows);
  /** @type {Map<string, number>} */
  const bars = new Map();
  for (const hole of holes) bars.set(hole.state, (bars.get(hole.state) ?? 0) + hole.bars);
  const widths = TIMEFRAMES.filter((one) => holes.some((hole) => hole.timeframe === one)).join(", ");
  const open = holes.some((hole) => UNEXPLAINED.has(hole.state));
  aside.className = `badge ${holes.length === 0 ? "good" : open ? "bad" : "warn"}`;
  const states = [...bars].map(([state, count]) => `${whole(count)} ${state}`).join(", ");
  setText(aside, holes.length === 0 ? "none" : `${found.next === null ? "" : "more than "}${states}, bars of ${widths}`);
  aside.title = "Of an instrument the narrowest bars that are absent are counted, not the wider ones over them";
  if (holes.length === 0) {
    nothing(body, "Every expected bar is stored.");
    return;
  }
  if (body.querySelector("table") === null) body.replaceChildren();
  showTable(body, {
    label: "Newest holes",
    keyOf: (/** @type {Hole} */ hole) => `${hole.state} ${hole.timeframe} ${hole.start} ${hole.end}`,
    columns: [
      { name: "From", cell: (hole) => shortStamp(hole.start) },
      { name: "Instrument", kind: "left", cell: (hole) => (hole.instruments.length === 1 ? chooser(hole.instruments[0]) : `${hole.instruments.length} of them`) },
      { name: "Bars", kind: "left", cell: (hole) => `${whole(hole.bars)} of ${hole.timeframe}` },
      { name: "Reason", kind: "left", cell: (hole) => hole.state, tone: (hole) => (UNEXPLAINED.has(hole.state) ? "bad" : "warn") },
      { name: "Evidence", kind: "words", cell: (hole) => hole.because },
    ],
  }, holes.slice(0, MOST));
}

/**
 * Holes of all instruments, the newest first. Of an instrument only the narrowest bars count: wider ones lack them too.
 * @param {any[]} rows
 * @returns {Hole[]}
 */
function merged(rows) {
  /** @type {Map<string, Hole>} */
  const holes = new Map();
  /** @type {Map<string, any[]>} */
  const kept = new Map();
  const narrow = [...rows].sort((a, b) => TIMEFRAMES.indexOf(a.timeframe) - TIMEFRAMES.indexOf(b.timeframe));
  for (const row of narrow) {
    const known = kept.get(row.instrument) ?? [];
    if (known.some((one) => one.timeframe !== row.timeframe && one.start < row.end && row.start < one.end)) continue;
    kept.set(row.instrument, [...known, row]);
    const key = `${row.state} ${row.timeframe} ${row.start} ${row.end}`;
    /** @type {Hole} */
    const hole = holes.get(key) ?? {
      state: row.state, start: row.start, end: row.end, timeframe: row.timeframe, bars: 0, instruments: [], because: because(row),
    };
    hole.bars += row.bars;
    hole.instruments.push(row.instrument);
    holes.set(key, hole);
  }
  return [...holes.values()].sort((a, b) => Date.parse(b.start) - Date.parse(a.start));
}

/** The ledger's sentence. @param {any} row */
function because(row) {
  return row.evidence?.because ?? row.note ?? "–";
}
