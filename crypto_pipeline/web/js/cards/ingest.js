// The live layer: what each ingest process does, and how old the newest bars are.

import { setText } from "../dom.js";
import { duration, whole } from "../format.js";
import { figures } from "./card.js";
import { showTable } from "./table.js";

/** Seconds of silence after which a process counts as gone: as the supervising sensor has it. */
const SILENT = 20;

/** @param {HTMLElement} body @param {any} found the health details @param {HTMLElement} aside */
export function drawIngest(body, found, aside) {
  const beats = (found.heartbeats ?? []).filter((/** @type {any} */ one) => one.name.startsWith("ingest"));
  const live = beats.filter((/** @type {any} */ one) => one.age_seconds < SILENT && one.detail.state === "live");
  aside.className = `badge ${live.length === beats.length && live.length > 0 ? "good" : "bad"}`;
  setText(aside, `${live.length} of ${beats.length} live`);
  /** @param {string} name */
  const sum = (name) => beats.reduce((/** @type {number} */ total, /** @type {any} */ one) => total + (one.detail[name] ?? 0), 0);
  const worst = Math.max(0, ...beats.map((/** @type {any} */ one) => one.detail.lag_ms_p99 ?? 0));
  figures(body, [
    ["Instruments", whole(sum("instruments"))],
    ["Trades", whole(sum("trades"))],
    ["Bars", whole(sum("bars"))],
    ["Delay, 99 of 100", `${whole(worst)} ms`],
    ["Jumps of trade ids", whole(sum("jumps"))],
    ["Cuts of the stream", whole(sum("link_cuts"))],
  ]);
  showTable(body, {
    label: "Newest bars",
    keyOf: (row) => `${row.venue} ${row.timeframe}`,
    columns: [
      { name: "Bars", cell: (row) => row.timeframe },
      { name: "Venue", kind: "left", cell: (row) => row.venue },
      { name: "Instruments", cell: (row) => `${row.with_bars} of ${row.instruments}` },
      { name: "Newest is", cell: (row) => (row.age_seconds === null ? "–" : `${duration(row.age_seconds)} old`) },
      { name: "Late", cell: (row) => whole(row.late), tone: (row) => (row.very_late > 0 ? "bad" : row.late > 0 ? "warn" : "") },
      { name: "Last of all", kind: "left", cell: (row) => (row.late > 0 ? row.oldest_symbol ?? "–" : "–") },
    ],
  }, found.freshness ?? []);
}
