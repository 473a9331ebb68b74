// The forecast of the price: its median, and the bands that hold it with 80 % and with 95 %.

import { millis } from "./times.js";

/** @typedef {import("./drawing.js").Scales} Scales */

/** The horizon that is shown with each timeframe. @type {Record<string, string>} */
export const HORIZONS = { "4h": "1d", "1d": "1d", "1w": "1w" };

const COLOR = "#7c6cf2";

export class ForecastLayer {
  constructor() {
    /** @type {"bottom"} */
    this.place = "bottom";
    /** The answer of the API. @type {any} */
    this.forecast = null;
    /** @type {{x: number, y: {low_95: number, median: number, high_95: number}, step: any}[]} */
    this.drawn = [];
  }

  /** The prices of the wider band until a moment, so that it is in sight. @param {number} until */
  range(until) {
    const steps = this.forecast?.steps.filter((/** @type {any} */ step) => (millis(step.target) ?? 0) <= until) ?? [];
    if (!steps.length) return null;
    return {
      low: Math.min(...steps.map((/** @type {any} */ step) => step.low_95)),
      high: Math.max(...steps.map((/** @type {any} */ step) => step.high_95)),
    };
  }

  /** @param {CanvasRenderingContext2D} context @param {Scales} scales */
  draw(context, scales) {
    this.drawn = [];
    if (!this.forecast) return;
    const { price, anchored_at: anchored, steps } = this.forecast;
    const here = { low_95: price, low_80: price, median: price, high_80: price, high_95: price };
    const points = [{ ...here, target: anchored }, ...steps].map((step) => ({ ...step, x: scales.x(step.at ?? millis(step.target)) }));
    this.#band(context, scales, points, "low_95", "high_95", `${COLOR}22`);
    this.#band(context, scales, points, "low_80", "high_80", `${COLOR}3a`);
    context.strokeStyle = COLOR;
    context.lineWidth = 1.5;
    context.setLineDash([2, 3]);
    context.beginPath();
    for (const point of points) context.lineTo(point.x, scales.y(point.median) ?? 0);
    context.stroke();
    for (const point of points.slice(1)) {
      if (point.x > scales.width) break;
      const y = (/** @type {string} */ name) => scales.y(point[name]) ?? 0;
      this.drawn.push({ x: point.x, y: { low_95: y("low_95"), median: y("median"), high_95: y("high_95") }, step: point });
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scales} scales
   * @param {any[]} points
   * @param {string} low
   * @param {string} high
   * @param {string} color
   */
  #band(context, scales, points, low, high, color) {
    context.fillStyle = color;
    context.beginPath();
    for (const point of points) context.lineTo(point.x, scales.y(point[high]) ?? 0);
    for (const point of [...points].reverse()) context.lineTo(point.x, scales.y(point[low]) ?? 0);
    context.closePath();
    context.fill();
  }

  /** @param {{x: number, y: number}} point */
  hit({ x, y }) {
    let best = null;
    for (const one of this.drawn) {
      if (y < one.y.high_95 || y > one.y.low_95) continue;
      if (!best || Math.abs(one.x - x) < Math.abs(best.x - x)) best = one;
    }
    return best && Math.abs(best.x - x) < 40 ? { kind: "forecast", row: { forecast: this.forecast, step: best.step } } : null;
  }
}
