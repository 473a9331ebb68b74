// The ledger at a glance: open holes by their reason, and the newest of them in the ledger's words.

import { setText } from "../dom.js";
import { stamp, whole } from "../format.js";
import { nothing } from "./card.js";
import { chooser, showTable } from "./table.js";

const MOST = 12;
/** States that no reason explains. */
const UNEXPLAINED = new Set(["lost", "pending", "unproven"]);

/** @param {HTMLElement} body @param {any} found rows of `GET /gaps` @param {HTMLElement} aside */
export function drawHoles(body, found, aside) {
  const rows = [...found.rows].sort((a, b) => Date.parse(b.start) - Date.parse(a.start));
  /** @type {Map<string, number>} */
  const bars = new Map();
  for (const row of rows) bars.set(row.state, (bars.get(row.state) ?? 0) + row.bars);
  const open = rows.some((row) => UNEXPLAINED.has(row.state));
  aside.className = `badge ${rows.length === 0 ? "good" : open ? "bad" : "warn"}`;
  const states = [...bars].map(([state, count]) => `${whole(count)} ${state}`).join(", ");
  setText(aside, rows.length === 0 ? "none" : `${found.next === null ? "" : "more than "}${states} bars`);
  if (rows.length === 0) {
    nothing(body, "Every expected bar is stored.");
    return;
  }
  if (body.querySelector("table") === null) body.replaceChildren();
  showTable(body, {
    label: "Newest holes",
    keyOf: (row) => String(row.gap_id ?? `${row.instrument} ${row.start}`),
    columns: [
      { name: "Instrument", cell: (row) => chooser(row.instrument) },
      { name: "Bars", kind: "left", cell: (row) => `${whole(row.bars)} of ${row.timeframe}` },
      { name: "From", cell: (row) => stamp(row.start) },
      { name: "Reason", kind: "left", cell: (row) => row.state, tone: (row) => (UNEXPLAINED.has(row.state) ? "bad" : "warn") },
      { name: "Evidence", kind: "words", cell: (row) => because(row) },
    ],
  }, rows.slice(0, MOST));
}

/** The ledger's sentence. @param {any} row */
function because(row) {
  try {
    return JSON.parse(row.evidence).because ?? row.note ?? "–";
  } catch {
    return row.note ?? "–";
  }
}
