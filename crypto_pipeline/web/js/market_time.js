// The market's time: ours but for seconds, unless a recording is replayed on its own dates.

/** The market's time less this browser's, milliseconds; null: not known yet. @type {number | null} */
let ahead = null;

/** @param {number} market the market's time just now, Unix milliseconds */
export function learnMarketTime(market) {
  ahead = market - Date.now();
}

/** The market's time, Unix milliseconds. */
export function marketNow() {
  return Date.now() + (ahead ?? 0);
}

/** When a moment of the market was, by this browser's clock. @param {number} market Unix milliseconds */
export function byOurClock(market) {
  return market - (ahead ?? 0);
}
