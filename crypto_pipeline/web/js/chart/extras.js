// What is drawn beside bars and holes, each of which can be left out: forecast, paper account, superseded copies.

import { ForecastLayer, HORIZONS } from "./forecast.js";
import { MarksLayer, revisionMarks } from "./marks.js";
import { readTrading, tradingMarks } from "./trading.js";

/** @typedef {"forecast" | "trading" | "revisions"} ExtraName */

export class Extras {
  /** @param {any} api @param {any} stream */
  constructor(api, stream) {
    this.api = api;
    this.stream = stream;
    /** @type {Record<ExtraName, boolean>} */
    this.on = { forecast: true, trading: true, revisions: true };
    this.forecast = new ForecastLayer();
    this.trading = new MarksLayer();
    this.revised = new MarksLayer();
    this.layers = [this.forecast, this.trading, this.revised];
    /** The newest forecast, and what the account did. @type {{forecast: any, trading: any}} */
    this.found = { forecast: null, trading: null };
  }

  /**
   * Follow what belongs to a series until it is closed. The past has neither forecast nor account, and an adjusted price
   * is none that anybody paid.
   * @param {import("./series.js").Series} series
   * @param {() => void} redraw
   */
  follow(series, redraw) {
    const { choice } = series;
    if (!this.stream || choice.asOf !== null || choice.adjust !== "none") return;
    const horizon = HORIZONS[choice.timeframe] ?? "1h";
    const forecast = (/** @type {any[]} */ rows) => {
      const row = rows.find((each) => each.horizon === horizon);
      if (!row) return;
      this.found.forecast = row;
      this.arrange(series);
      redraw();
    };
    const trading = (/** @type {any[]} */ rows) => {
      if (rows.some((row) => row.instrument === choice.instrument)) void this.read(series).then(redraw);
    };
    series.subscriptions.push(
      this.stream.subscribe(`forecasts/${choice.instrument}`, { snapshot: forecast, delta: forecast }),
      this.stream.subscribe("signals", { delta: trading }),
      this.stream.subscribe("trades", { delta: trading }),
    );
  }

  /**
   * Read what the account did. Where that cannot be read now, what was read before stays.
   * @param {import("./series.js").Series} series
   */
  async read(series) {
    const { choice, window, ended } = series;
    if (choice.asOf !== null || choice.adjust !== "none" || window.empty) return;
    try {
      const trading = await readTrading(this.api, choice.instrument, window.start, ended.signal);
      if (series.closed) return;
      this.found.trading = trading;
      this.arrange(series);
    } catch {
      // it is read again before long
    }
  }

  /**
   * Let the layers draw what is known and wanted.
   * @param {import("./series.js").Series} series
   */
  arrange(series) {
    const { window, revisions } = series;
    this.forecast.forecast = this.on.forecast ? this.found.forecast : null;
    const { trading } = this.found;
    const { marks, lines } = this.on.trading && trading ? tradingMarks(trading) : { marks: [], lines: [] };
    Object.assign(this.trading, { marks, lines, now: window.slots().at(-1) ?? 0 });
    this.revised.marks = this.on.revisions ? revisionMarks(window.bars, revisions) : [];
  }

  /** Another series is shown: nothing of the one before may stay. */
  clear() {
    this.found = { forecast: null, trading: null };
    this.forecast.forecast = null;
    Object.assign(this.trading, { marks: [], lines: [] });
    this.revised.marks = [];
  }
}
