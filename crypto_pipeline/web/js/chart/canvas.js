// The canvas: candles and volume in lightweight-charts, and a place for what is drawn behind and above them.

import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  HistogramSeries,
  createChart,
} from "../../vendor/lightweight-charts-5.2.1/lightweight-charts.standalone.production.mjs";

/** @typedef {import("./bars.js").Bar} Bar */

/**
 * The colours of the page, by the names of its custom properties.
 * @param {Element} element
 */
function palette(element) {
  const style = getComputedStyle(element);
  /** @param {string} name @param {string} otherwise */
  const color = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    text: color("--muted", "#525b6b"),
    grid: color("--line", "#d3d9e3"),
    background: color("--panel", "#ffffff"),
    up: color("--up", "#0a7d4f"),
    down: color("--down", "#c4372c"),
  };
}

export class Canvas {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.colors = palette(element);
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false, panes: { enableResize: false } },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, minBarSpacing: 0.2 },
      handleScroll: { vertTouchDrag: false },
      localization: { locale: "en-GB" },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { priceLineVisible: true });
    this.volume = this.chart.addSeries(
      HistogramSeries,
      { priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false },
      1,
    );
    this.chart.panes()[1]?.setStretchFactor(0.22);
    this.digits = 2;
    this.restyle();
  }

  /** Take the colours of the page again: it may have turned dark. */
  restyle() {
    const { text, grid, background, up, down } = (this.colors = palette(this.element));
    this.chart.applyOptions({
      layout: { textColor: text, background: { type: ColorType.Solid, color: background } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: grid },
      timeScale: { borderColor: grid },
    });
    this.candles.applyOptions({
      upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down,
    });
  }

  /**
   * Draw these windows, with a bar or without.
   * @param {number[]} slots
   * @param {Map<number, Bar>} bars
   */
  draw(slots, bars) {
    this.#precision(bars);
    this.candles.setData(slots.map((time) => this.#candle(time, bars.get(time))));
    this.volume.setData(slots.map((time) => this.#column(time, bars.get(time))));
  }

  /**
   * Draw the newest bar, which follows or replaces the last one.
   * @param {Bar} bar
   */
  update(bar) {
    this.candles.update(this.#candle(bar.open_time, bar));
    this.volume.update(this.#column(bar.open_time, bar));
  }

  /** As many digits as the prices have. @param {Map<number, Bar>} bars */
  #precision(bars) {
    let digits = 0;
    let seen = 0;
    for (const { close } of bars.values()) {
      digits = Math.max(digits, (String(close).split(".")[1] ?? "").length);
      if ((seen += 1) === 300) break;
    }
    digits = Math.min(digits, 8);
    if (seen && digits !== this.digits) {
      this.digits = digits;
      this.candles.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    }
  }

  /** @param {number} time @param {Bar | undefined} bar */
  #candle(time, bar) {
    if (!bar) return { time: seconds(time) };
    const { open, high, low, close } = bar;
    const point = { time: seconds(time), open, high, low, close };
    // a bar that is not whole has no body
    return bar.complete === false ? { ...point, color: this.colors.background } : point;
  }

  /** @param {number} time @param {Bar | undefined} bar */
  #column(time, bar) {
    if (!bar) return { time: seconds(time) };
    const color = bar.close >= bar.open ? this.colors.up : this.colors.down;
    return { time: seconds(time), value: bar.volume, color: `${color}80` };
  }
}

/** A time as lightweight-charts has it. @param {number} time */
function seconds(time) {
  return /** @type {any} */ (time / 1000);
}
