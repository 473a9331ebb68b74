// The watchlist: last prices with their age, the change of a day, and what today has and lacks.

import { forgetAge, tellAge } from "./ages.js";
import { get } from "./api.js";
import { byId, keyed, make, setText } from "./dom.js";
import { percent, price, tone, whole } from "./format.js";
import { learnMarketTime } from "./market_time.js";
import { go, onPlace, place } from "./place.js";
import { poll } from "./polling.js";

/**
 * @typedef {object} Watched a row of `GET /watchlist`
 * @property {string} instrument
 * @property {number | null} last_price
 * @property {string | null} price_time
 * @property {number | null} age_s
 * @property {string | null} source
 * @property {number | null} bars
 * @property {number | null} holes
 * @property {number | null} explained
 * @property {string | null} venue
 * @property {number | null} change_24h
 */

/** Seconds between two reads: prices come by stream in between. */
const EVERY = 10;
/** Ages in seconds from which on a price is old: as in `crypto-pipeline live`. */
const OLD = 300;
/** @type {Watched[]} */
let rows = [];
/** What is shown, by instrument. @type {Map<string, {element: HTMLElement, row: Watched}>} */
const lines = new Map();

/** @returns {Watched[]} what is shown, in the order in which it is */
export function watched() {
  return rows;
}

/** The instrument so many rows below the chosen one. @param {number} steps */
export function neighbour(steps) {
  if (rows.length === 0) return null;
  const at = rows.findIndex((row) => row.instrument === place().instrument);
  return rows[(Math.max(at, 0) + steps + rows.length) % rows.length].instrument;
}

/**
 * Show it, from now on.
 * @param {(failure: Error | null) => void} told of every read
 * @returns {() => void} reads it now
 */
export function startWatchlist(told) {
  const body = byId("watchlist-rows");
  const age = byId("watchlist-age");
  onPlace(() => mark(body));
  return poll(EVERY, async () => {
    try {
      const answer = await get("watchlist");
      rows = answer.rows;
      const priced = rows.find((row) => row.price_time !== null && row.age_s !== null);
      if (priced !== undefined) learnMarketTime(Date.parse(priced.price_time ?? "") + 1000 * (priced.age_s ?? 0));
      draw(body, Date.now());
      tellAge(age, Date.now(), { old: 3 * EVERY, words: "read " });
      if (place().instrument === null && rows.length > 0) go({ instrument: rows[0].instrument }, { replace: true });
      told(null);
    } catch (failure) {
      told(/** @type {Error} */ (failure));
    }
  });
}

/**
 * Newer prices, of the stream.
 * @param {{instrument: string, price: number, time: number, source: string}[]} prices times are Unix milliseconds
 * @param {number} market the market's time now, Unix milliseconds
 */
export function showPrices(prices, market) {
  const now = Date.now();
  for (const one of prices) {
    const shown = lines.get(one.instrument);
    // of an instrument without trades the newest bar may be newer
    if (shown === undefined || one.time <= Date.parse(shown.row.price_time ?? "1970")) continue;
    const { row } = shown;
    if (row.last_price !== null && row.change_24h !== null) {
      row.change_24h = (one.price * (1 + row.change_24h)) / row.last_price - 1;
    }
    row.last_price = one.price;
    row.price_time = new Date(one.time).toISOString();
    row.age_s = Math.max(0, (market - one.time) / 1000);
    row.source = one.source;
    fill(shown.element, row, now);
  }
}

/** @param {HTMLElement} body @param {number} now */
function draw(body, now) {
  for (const [instrument, { element }] of lines) {
    if (!rows.some((row) => row.instrument === instrument)) forgetAge(/** @type {HTMLElement} */ (element.querySelector(".age")));
  }
  lines.clear();
  keyed(body, rows, (row) => row.instrument, create, (element, row) => {
    lines.set(row.instrument, { element, row });
    fill(element, row, now);
  });
  mark(body);
}

/** @param {Watched} row */
function create(row) {
  const [name, venue] = row.instrument.split("@");
  const choose = make("button", { type: "button", class: "plain" }, name);
  choose.addEventListener("click", () => go({ instrument: row.instrument }));
  if (venue !== undefined) choose.append(" ", make("small", { class: "muted" }, venue));
  const cells = ["price", "change", "age", "today"].map((each) => make("td", { class: each }));
  cells[2].classList.add("age");
  return make("tr", {}, make("th", { scope: "row" }, choose), ...cells);
}

/** @param {HTMLElement} element @param {Watched} row @param {number} now this browser's clock */
function fill(element, row, now) {
  const [last, change, age, today] = /** @type {HTMLElement[]} */ ([...element.children].slice(1));
  setText(last, price(row.last_price));
  last.title = row.source === null ? "" : [row.source, row.venue].filter(Boolean).join(" of ");
  setText(change, percent(row.change_24h));
  change.className = `change ${tone(row.change_24h)}`;
  tellAge(age, row.age_s === null ? null : now - 1000 * row.age_s, { old: OLD });
  const holes = row.holes ? `${whole(row.holes)} absent` : "";
  const explained = row.explained ? `${whole(row.explained)} explained` : "";
  setText(today, [whole(row.bars), holes, explained].filter(Boolean).join(", "));
  today.className = `today ${row.holes ? "bad" : row.explained ? "warn" : ""}`;
}

/** @param {HTMLElement} body */
function mark(body) {
  const chosen = place().instrument;
  for (const row of /** @type {HTMLElement[]} */ ([...body.children])) {
    if (row.dataset.key === chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}
