// What moves: one stream for the whole page, the chart that follows it, and prices for the watchlist.

import { api, post, ROOT } from "./api.js";
import { createChart } from "./chart/index.js";
import { byId } from "./dom.js";
import { learnMarketTime } from "./market_time.js";
import { go, onPlace, place } from "./place.js";
import { openStream } from "./stream.js";
import { showPrices } from "./watchlist.js";

const WORDS = { connecting: "connecting", open: "live", waiting: "no stream, trying again", closed: "no stream" };

/**
 * Open the stream and show the chart.
 * @param {(words: string) => void} told of the stream's state
 */
export function startLive(told) {
  const stream = openStream({ url: new URL("stream", ROOT), ticket: async () => (await post("stream/ticket")).ticket });
  stream.onState((state) => {
    learnMarketTime(stream.marketTime());
    told(state === "open" && stream.database === "away" ? "live, but the database is away" : WORDS[state]);
  });
  /** @param {any[]} rows */
  const prices = (rows) => showPrices(rows, stream.marketTime());
  stream.subscribe("prices", { snapshot: prices, delta: prices });
  const chart = createChart(byId("chart"), { api, stream, onTimeframe: (timeframe) => go({ timeframe }) });
  document.addEventListener("colours", () => chart.restyle());
  const show = () => {
    const { instrument, timeframe } = place();
    if (instrument !== null) void chart.show(instrument, timeframe);
  };
  onPlace(show);
  show();
  return { chart, stream };
}
