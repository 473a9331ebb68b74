// The paper account on the chart: signals, open positions with stop and target, and closed trades of one instrument.

import { iso, millis } from "./times.js";

/** @typedef {import("./marks.js").Mark} Mark */
/** @typedef {import("./marks.js").Line} Line */

const GOOD = "#12a594";
const BAD = "#e5484d";
const PLAIN = "#4a90e2";
const FAINT = "#8b8d98";

/**
 * What the account did with an instrument since a moment.
 * @param {import("./archive.js").Api} api
 * @param {string} instrument
 * @param {number} since
 * @param {AbortSignal} signal
 */
export async function readTrading(api, instrument, since, signal) {
  const asked = { instrument, start: iso(since), limit: 500 };
  const [signals, positions, trades] = await Promise.all([
    api.get("signals", asked, { signal }),
    api.get("positions", { instrument }, { signal }),
    api.get("trades", asked, { signal }),
  ]);
  return { signals: signals.signals, positions: positions.positions, trades: trades.trades };
}

/**
 * Marks and lines of what the account did.
 * @param {{signals: any[], positions: any[], trades: any[]}} found
 * @returns {{marks: Mark[], lines: Line[]}}
 */
export function tradingMarks({ signals, positions, trades }) {
  /** @type {Mark[]} */
  const marks = [];
  /** @type {Line[]} */
  const lines = [];
  for (const row of signals) {
    const shape = row.accepted ? "dot" : "ring";
    const color = row.accepted ? PLAIN : FAINT;
    marks.push({ kind: "signal", time: moment(row.signal_ts), price: row.decision_price, shape, color, offset: -14, row });
  }
  for (const row of trades) {
    const from = moment(row.entry_ts);
    const until = moment(row.exit_ts);
    const color = Number(row.pnl) >= 0 ? GOOD : BAD;
    marks.push({ kind: "trade", time: from, price: row.average_price, shape: "up", color: PLAIN, row });
    marks.push({ kind: "trade", time: until, price: row.exit_price, shape: "down", color, row });
    lines.push({ kind: "trade", from, until, price: row.average_price, to: row.exit_price, color, row });
    levels(lines, "trade", row, from, until);
  }
  for (const row of positions) {
    const from = moment(row.entry_ts);
    if (row.average_price !== null) {
      marks.push({ kind: "position", time: from, price: row.average_price, shape: "up", color: PLAIN, row });
      lines.push({ kind: "position", from, until: null, price: row.average_price, color: PLAIN, row });
    }
    levels(lines, "position", row, from, null);
  }
  return { marks, lines };
}

/**
 * Stop and target.
 * @param {Line[]} lines
 * @param {string} kind
 * @param {any} row
 * @param {number} from
 * @param {number | null} until
 */
function levels(lines, kind, row, from, until) {
  for (const [price, color] of [[row.stop_loss_price, BAD], [row.take_profit_price, GOOD]]) {
    if (price !== null && price !== undefined) lines.push({ kind, from, until, price, color, dashed: true, row });
  }
}

/** @param {string} value */
function moment(value) {
  return millis(value) ?? 0;
}
