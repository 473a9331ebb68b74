// The words for what is under the pointer: a bar with its superseded copies, a row of the ledger, a forecast, a trade.

import { make } from "../dom.js";
import { styleOf } from "./states.js";
import { said } from "./times.js";

/** Names of columns that people read, where the name itself would puzzle. @type {Record<string, string>} */
const NAMES = {
  gap_id: "ledger row",
  start: "from",
  end: "until",
  first_seen: "first seen",
  last_attempt: "last attempt",
  next_attempt: "next attempt",
  closed_at: "healed",
  trade_count: "trades",
};
const TIMES = /_at$|_ts$|_seen$|_attempt$|^(start|end|target|expires)$/;

/**
 * One value as text.
 * @param {string} name
 * @param {any} value
 */
export function valueText(name, value) {
  if (value === null || value === undefined) return "–";
  if (TIMES.test(name)) return said(value);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/**
 * A list of names and values. Each value has the name of its column in `data-column`.
 * @param {[string, any][]} pairs
 */
function list(pairs) {
  const parts = pairs.flatMap(([name, value]) => [
    make("dt", {}, NAMES[name] ?? name.replaceAll("_", " ")),
    make("dd", { "data-column": name }, valueText(name, value)),
  ]);
  return make("dl", {}, ...parts);
}

/**
 * A row of the ledger, with its evidence column by column.
 * @param {import("./bars.js").Hole} hole
 * @returns {HTMLElement[]}
 */
export function holeWords(hole) {
  const { label, meaning, color } = styleOf(hole.state);
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = color;
  const head = make("h3", {}, swatch, label);
  const { row } = hole;
  if (!row) return [head, make("p", {}, meaning), list([["start", hole.start], ["end", hole.end]])];
  const shown = ["start", "end", "bars", "attempts", "first_seen", "last_attempt", "next_attempt", "closed_at", "note", "gap_id"];
  const pairs = /** @type {[string, any][]} */ (shown.map((name) => [name, row[name]]));
  const known = pairs.filter(([, value]) => value !== null && value !== undefined);
  return [head, make("p", {}, meaning), list(known), make("h4", {}, "Evidence"), evidence(row.evidence)];
}

/** @param {Record<string, any> | null} known */
function evidence(known) {
  const found = Object.entries(known ?? {});
  if (!found.length) return make("p", {}, "none is recorded");
  const words = list(/** @type {[string, any][]} */ (found));
  words.dataset.evidence = JSON.stringify(known);
  return words;
}

/**
 * A bar, and the copies that it replaced.
 * @param {import("./bars.js").Bar} bar
 * @param {Record<string, any>[]} copies
 * @returns {HTMLElement[]}
 */
export function barWords(bar, copies) {
  const names = ["open", "high", "low", "close", "volume", "trade_count", "source"];
  const pairs = /** @type {[string, any][]} */ (names.map((name) => [name, /** @type {any} */ (bar)[name]]));
  if (bar.complete === false) pairs.push(["complete", bar.source === "forming" ? "forming now" : "only a part was seen"]);
  const parts = [make("h3", {}, said(bar.open_time)), list(pairs)];
  if (copies.length) parts.push(make("h4", {}, "Earlier copies"), copyTable(copies));
  return parts;
}

/** @param {Record<string, any>[]} copies */
function copyTable(copies) {
  const columns = ["recorded_at", "superseded_at", "source", "open", "high", "low", "close", "volume"];
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name.replaceAll("_", " "))));
  const rows = copies.map((copy) =>
    make("tr", {}, ...columns.map((name) => make("td", { "data-column": name }, valueText(name, copy[name])))),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

/**
 * What the paper account did, or a step of the forecast.
 * @param {string} kind
 * @param {any} row
 * @returns {HTMLElement[]}
 */
export function rowWords(kind, row) {
  if (kind === "forecast") {
    const { forecast, step } = row;
    const { target, low_95, low_80, median, high_80, high_95, direction } = step;
    const shown = { target, low_95, low_80, median, high_80, high_95, direction, model: forecast.model, anchored_at: forecast.anchored_at };
    return [make("h3", {}, `Forecast of ${forecast.horizon}`), list(Object.entries(shown))];
  }
  const title = kind === "signal" ? (row.accepted ? "Signal, accepted" : "Signal, rejected") : kind === "trade" ? "Closed trade" : "Open position";
  const pairs = Object.entries(row).filter(([name, value]) => value !== null && name !== "instrument" && !/hash$/.test(name));
  return [make("h3", {}, title), list(pairs)];
}

export class Tooltip {
  /** @param {HTMLElement} parent  the place that it stays inside of */
  constructor(parent) {
    this.parent = parent;
    this.element = make("div", { class: "chart-tooltip", role: "tooltip", hidden: true });
    parent.append(this.element);
    /** @type {any} */
    this.shown = null;
  }

  /**
   * Show words beside a point.
   * @param {any} what  the same thing is not written twice
   * @param {() => HTMLElement[]} words
   * @param {{x: number, y: number}} point
   */
  show(what, words, { x, y }) {
    if (what !== this.shown || this.element.hidden) {
      this.element.replaceChildren(...words());
      this.element.hidden = false;
      this.shown = what;
    }
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const { clientWidth, clientHeight } = this.parent;
    const left = x + 16 + width > clientWidth ? Math.max(0, x - width - 16) : x + 16;
    this.element.style.left = `${left}px`;
    this.element.style.top = `${Math.max(0, Math.min(y + 12, clientHeight - height))}px`;
  }

  hide() {
    this.element.hidden = true;
    this.shown = null;
  }
}

