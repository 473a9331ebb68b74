// Which instrument and timeframe are shown. It stands in the address (`#/BTC-USDT/1h`), so that it can be linked.

export const TIMEFRAMES = ["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"];
const DEFAULT = "15m";

/** @typedef {{instrument: string | null, timeframe: string}} Place */
/** @type {Set<(place: Place) => void>} */
const watchers = new Set();

/** @returns {Place} */
export function place() {
  const [instrument, timeframe] = location.hash.replace(/^#\/?/, "").split("/");
  let name = null;
  try {
    name = instrument ? decodeURIComponent(instrument) : null;
  } catch {
    // an address that nobody here made
  }
  return { instrument: name, timeframe: TIMEFRAMES.includes(timeframe) ? timeframe : DEFAULT };
}

/** @param {Partial<Place>} change @param {{replace?: boolean}} [how] replace: without a step to go back to */
export function go(change, how = {}) {
  const next = { ...place(), ...change };
  const hash = next.instrument === null ? "" : `#/${encodeURIComponent(next.instrument)}/${next.timeframe}`;
  if (hash === location.hash) return;
  if (how.replace) {
    history.replaceState(null, "", hash);
    tell();
  } else {
    location.hash = hash;
  }
}

/** @param {(place: Place) => void} watcher is called for every change */
export function onPlace(watcher) {
  watchers.add(watcher);
}

function tell() {
  const now = place();
  for (const watcher of watchers) watcher(now);
}

window.addEventListener("hashchange", tell);
