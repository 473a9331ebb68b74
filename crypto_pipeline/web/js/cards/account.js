// The paper account: equity with its curve, open positions, newest signals and trades.

import { setText } from "../dom.js";
import { duration, money, percent, price, shortStamp, stamp, tone } from "../format.js";
import { marketNow } from "../market_time.js";
import { addCard, figures, nothing, reading } from "./card.js";
import { showCurve } from "./curve.js";
import { chooser, showTable } from "./table.js";

const EVERY = 15;
const MOST = 8;

/** @returns each reads a card now */
export function addAccountCards() {
  return {
    account: addCard({ id: "account", title: "Paper account", every: EVERY, read: reading("portfolio", { points: 300 }), draw: drawAccount }),
    positions: addCard({ id: "positions", title: "Open positions", every: EVERY, read: reading("positions"), draw: drawPositions }),
    signals: addCard({ id: "signals", title: "Newest signals", every: EVERY, read: reading("signals", { limit: MOST }), draw: drawSignals }),
    trades: addCard({ id: "trades", title: "Newest closed trades", every: EVERY, read: reading("trades", { limit: MOST }), draw: drawTrades }),
  };
}

/** How far it is booked, and how long ago that was. @param {HTMLElement} aside @param {string | null} moment */
function booked(aside, moment) {
  const words = moment === null ? "nothing is booked yet" : `booked to ${stamp(moment)}, ${duration((marketNow() - Date.parse(moment)) / 1000)} ago`;
  aside.className = "muted";
  setText(aside, words);
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function drawAccount(body, found, aside) {
  booked(aside, found.as_of);
  const current = found.figures?.current_drawdown ?? null;
  const deepest = found.figures?.drawdown?.depth ?? null;
  figures(body, [
    [`Equity, ${found.currency}`, money(found.equity)],
    ["Today", money(found.pnl_day, true), tone(Number(found.pnl_day))],
    ["This week", money(found.pnl_week, true), tone(Number(found.pnl_week))],
    ["Unrealised", money(found.unrealised_pnl, true), tone(Number(found.unrealised_pnl))],
    ["Realised", money(found.realised_pnl, true), tone(Number(found.realised_pnl))],
    ["Exposure", money(found.exposure)],
    ["Drawdown now, deepest", `${percent(drop(current), 1)}, ${percent(drop(deepest), 1)}`],
    ["Trades, won", `${found.trades.trades}, ${found.trades.win_rate === null ? "–" : percent(found.trades.win_rate, 0).replace("+", "")}`],
    ["State", found.state, found.state === "ACTIVE" ? "good" : "bad"],
  ]);
  const values = found.curve.map((/** @type {any} */ point) => Number(point.equity));
  if (values.length > 1) {
    const from = found.curve[0].moment;
    const words = `Equity from ${stamp(from)} to ${stamp(found.as_of)}: from ${money(values[0])} to ${money(values.at(-1))}; the dashed line is the capital`;
    showCurve(body, values, Number(found.capital), words);
  }
}

/** A drawdown as a share below zero. @param {number | null} share */
function drop(share) {
  return share === null ? null : -Math.abs(share);
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function drawPositions(body, found, aside) {
  booked(aside, found.as_of);
  shown(body, found.positions, "No position is open.", {
    label: "Open positions",
    keyOf: (row) => `${row.strategy} ${row.instrument} ${row.signal_ts}`,
    columns: [
      { name: "Instrument", cell: (row) => chooser(row.instrument) },
      { name: "Strategy", kind: "left", cell: (row) => row.strategy },
      { name: "Entry", cell: (row) => price(row.average_price) },
      { name: "Price", cell: (row) => price(row.price) },
      { name: "Result", cell: (row) => money(row.unrealised_pnl, true), tone: (row) => tone(Number(row.unrealised_pnl)) },
      { name: "Stop", cell: (row) => price(row.stop_loss_price) },
      { name: "Target", cell: (row) => price(row.take_profit_price) },
      { name: "Since", cell: (row) => shortStamp(row.entry_ts) },
    ],
  });
}

/** @param {HTMLElement} body @param {any} found */
function drawSignals(body, found) {
  shown(body, found.signals, "No signal has been decided yet.", {
    label: "Newest signals",
    keyOf: (row) => `${row.strategy} ${row.instrument} ${row.signal_ts}`,
    columns: [
      { name: "Instrument", cell: (row) => chooser(row.instrument) },
      { name: "Strategy", kind: "left", cell: (row) => row.strategy },
      { name: "Bar", cell: (row) => shortStamp(row.signal_ts) },
      { name: "Price", cell: (row) => price(row.decision_price) },
      { name: "Decision", kind: "left", cell: (row) => (row.accepted ? "taken" : `not: ${row.reason ?? "no reason"}`), tone: (row) => (row.accepted ? "good" : "muted") },
      { name: "Size", cell: (row) => money(row.size) },
    ],
  });
}

/** @param {HTMLElement} body @param {any} found */
function drawTrades(body, found) {
  shown(body, found.trades, "No trade has been closed yet.", {
    label: "Newest closed trades",
    keyOf: (row) => `${row.strategy} ${row.instrument} ${row.signal_ts}`,
    columns: [
      { name: "Instrument", cell: (row) => chooser(row.instrument) },
      { name: "Strategy", kind: "left", cell: (row) => row.strategy },
      { name: "Entry", cell: (row) => price(row.average_price) },
      { name: "Exit", cell: (row) => price(row.exit_price) },
      { name: "How", kind: "left", cell: (row) => row.outcome },
      { name: "Result", cell: (row) => money(row.pnl, true), tone: (row) => tone(Number(row.pnl)) },
      { name: "Closed", cell: (row) => shortStamp(row.exit_ts) },
    ],
  });
}

/**
 * A table of rows, or words where there are none.
 * @param {HTMLElement} body @param {any[]} rows @param {string} words
 * @param {Parameters<typeof showTable>[1]} table
 */
function shown(body, rows, words, table) {
  if (rows.length === 0) {
    nothing(body, words);
    return;
  }
  if (body.querySelector("table") === null) body.replaceChildren();
  showTable(body, table, rows);
}
