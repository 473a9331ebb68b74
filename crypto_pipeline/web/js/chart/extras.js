// What is drawn beside bars and holes, each of which can be left out: forecast, paper account, superseded copies.

import { ForecastLayer, HORIZONS } from "./forecast.js";
import { MarksLayer, revisionMarks } from "./marks.js";
import { readTrading, tradingMarks } from "./trading.js";

/** @typedef {"forecast" | "trading" | "revisions"} ExtraName */

export class Extras {
  /** @param {any} api */
  constructor(api) {
    this.api = api;
    /** @type {Record<ExtraName, boolean>} */
    this.on = { forecast: true, trading: true, revisions: true };
    this.forecast = new ForecastLayer();
    this.trading = new MarksLayer();
    this.revised = new MarksLayer();
    this.layers = [this.forecast, this.trading, this.revised];
    /** Answers of the API. @type {{forecast: any, trading: any}} */
    this.found = { forecast: null, trading: null };
  }

  /**
   * Read forecast and account. What does not exist, or cannot be read now, is not drawn: the past has no forecast, a
   * stock or a new instrument may have none either.
   * @param {import("./series.js").Series} series
   */
  async read(series) {
    const { choice, window, ended } = series;
    const { signal } = ended;
    const past = choice.asOf !== null || choice.adjust !== "none" || window.empty;
    const horizon = HORIZONS[choice.timeframe] ?? "1h";
    const nothing = () => null;
    const [forecast, trading] = await Promise.all([
      past ? null : this.api.get(`forecasts/${encodeURIComponent(choice.instrument)}`, { horizon }, { signal }).catch(nothing),
      past ? null : readTrading(this.api, choice.instrument, window.start, signal).catch(nothing),
    ]);
    if (series.closed) return;
    this.found = { forecast, trading };
    this.arrange(series);
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
