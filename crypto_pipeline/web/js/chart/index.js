// The chart's public face: what the page, and its tests, use of it.

import { View } from "./view.js";
import { drawn } from "./drawn.js";

/**
 * Put a chart into an element.
 *
 * `api.get(path, query, {signal})` gives the JSON of an address of the server. `stream` is what `openStream` gives, or
 * null: then the chart shows what is stored and does not move. `onBar` is called with every bar that the stream brings.
 * `onTimeframe` is called where a person chooses another timeframe; without it the chart shows it.
 * @param {HTMLElement} element
 * @param {{api: any, stream?: any, onBar?: (bar: any) => void, onTimeframe?: (timeframe: string) => void}} parts
 */
export function createChart(element, { api, stream = null, onBar, onTimeframe }) {
  const view = new View(element, { api, stream, onBar, onTimeframe });
  const face = {
    /** Show an instrument; resolves when its newest bars are drawn. @param {string} instrument @param {string} timeframe */
    show: (instrument, timeframe) => view.show(instrument, timeframe),
    /** Show what was known at a moment (Unix milliseconds); null: what is known now. @param {number | null} moment */
    asOf: (moment) => view.asOf(moment),
    /** Show the bars around a moment; null: the newest. @param {number | null} moment */
    goTo: (moment) => view.goTo(moment),
    /** Take the colours of the page again. */
    restyle: () => view.restyle(),
    /** The newest bar that is loaded, and when the canvas was painted last, by `performance.now()`. */
    newest: () => ({ bar: view.series?.window.bars.get(view.drawing.slots.at(-1) ?? 0) ?? null, paintedAt: view.drawing.painted }),
    /** What the canvas shows, for tests. */
    drawn: () => drawn(view),
    /** End all that it does. */
    destroy: () => view.destroy(),
  };
  // where the console of a browser, and tests, find it
  /** @type {any} */ (element).chart = face;
  return face;
}
