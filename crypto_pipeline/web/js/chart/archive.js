// What the chart reads over HTTP: pages of bars, rows of the ledger, superseded copies, and where the archive begins.

import { toBar } from "./bars.js";
import { iso, millis } from "./times.js";

/** Most windows of one request. */
const PAGE = 5_000;

/**
 * What is shown.
 * @typedef {object} Choice
 * @property {string} instrument
 * @property {string} timeframe
 * @property {number | null} asOf  what was known at this moment; null: what is known now
 * @property {"none" | "splits" | "all"} adjust
 */

/**
 * @typedef {object} Api
 * @property {(path: string, query?: Record<string, any>, how?: {signal?: AbortSignal}) => Promise<any>} get  JSON
 */

export class Archive {
  /**
   * @param {Api} api
   * @param {Choice} choice
   * @param {AbortSignal} signal  ends all requests
   */
  constructor(api, choice, signal) {
    this.api = api;
    this.choice = choice;
    this.signal = signal;
  }

  /**
   * The newest bars.
   * @param {number} count
   */
  async newest(count) {
    return await this.#bars({ last: count });
  }

  /**
   * The bars of a span.
   * @param {number} start
   * @param {number | null} end  null: the newest bar is the last one
   */
  async bars(start, end) {
    return await this.#bars({ start: iso(start), end: end === null ? null : iso(end), limit: PAGE });
  }

  /**
   * Rows of the ledger that overlap a span.
   * @param {number} start
   * @param {number} end
   */
  gaps(start, end) {
    const { instrument, timeframe, asOf } = this.choice;
    const span = { start: iso(start), end: iso(end), as_of: asOf === null ? null : iso(asOf) };
    return this.#all("gaps", { instruments: instrument, timeframe, ...span, limit: PAGE }, "rows");
  }

  /**
   * Superseded copies of the bars of a span.
   * @param {number} start
   * @param {number} end
   */
  async revisions(start, end) {
    const { instrument, timeframe } = this.choice;
    const asked = { timeframe, start: iso(start), end: iso(end), limit: PAGE };
    return (await this.#all(`revisions/${encodeURIComponent(instrument)}`, asked, "rows")).map(toBar);
  }

  /** The first day with bars or an explanation; null: there is none. @returns {Promise<number | null>} */
  async begin() {
    const { instrument, timeframe } = this.choice;
    const found = await this.#get("coverage", { instruments: instrument, timeframe, limit: 1 });
    return found.rows.length ? millis(found.rows[0].day) : null;
  }

  /** @param {Record<string, string | number | null>} asked */
  async #bars(asked) {
    const { instrument, timeframe, asOf, adjust } = this.choice;
    const as_of = asOf === null ? null : iso(asOf);
    const how = { timeframe, final_only: false, adjust: adjust === "none" ? null : adjust, as_of, ...asked };
    return (await this.#all(`bars/${encodeURIComponent(instrument)}`, how, "bars")).map(toBar);
  }

  /**
   * The rows of all pages.
   * @param {string} path
   * @param {Record<string, any>} asked
   * @param {"bars" | "rows"} name
   */
  async #all(path, asked, name) {
    let page = await this.#get(path, asked);
    const rows = page[name];
    while (page.next) {
      // the server may be reached below a path of a proxy
      page = await this.#get(page.next.replace(/^\//, ""));
      rows.push(...page[name]);
    }
    return rows;
  }

  /** @param {string} path @param {Record<string, any>} [asked] */
  #get(path, asked) {
    return this.api.get(path, asked, { signal: this.signal });
  }
}
