// What is drawn beside the candles: an object that lightweight-charts paints with each frame, made of layers.

/**
 * Where moments and prices are on the canvas.
 * @typedef {object} Scales
 * @property {(moment: number) => number} x  of any moment, also between windows and after the last; in pixels
 * @property {(price: number) => number | null} y
 * @property {number} width  of the pane, in pixels
 * @property {number} height
 * @property {number} spacing  pixels from one window to the next
 */

/**
 * A layer draws one kind of thing.
 * @typedef {object} Layer
 * @property {"bottom" | "top"} place  behind the candles or above them
 * @property {(context: CanvasRenderingContext2D, scales: Scales) => void} draw
 * @property {(point: {x: number, y: number}) => any} [hit]  what is at a point, after it was drawn
 * @property {(until: number) => {low: number, high: number} | null} [range]  prices that should be in sight
 */

export class Drawing {
  /** @param {Layer[]} layers */
  constructor(layers) {
    this.layers = layers;
    /** @type {number[]} */
    this.slots = [];
    this.width = 60_000;
    /** The moment of the last painting, by `performance.now()`. */
    this.painted = 0;
    /** @type {any} */
    this.at = null;
    this.views = ["bottom", "top"].map((place) => ({
      zOrder: () => place,
      renderer: () => ({ draw: (/** @type {any} */ target) => this.#draw(target, place) }),
    }));
  }

  /** @param {any} parameters */
  attached(parameters) {
    this.at = parameters;
  }

  detached() {
    this.at = null;
  }

  updateAllViews() {}

  paneViews() {
    return this.views;
  }

  /** @param {number} _ @param {number} end  the last place in sight */
  autoscaleInfo(_, end) {
    let found = null;
    for (const layer of this.layers) {
      const range = layer.range?.(this.moment(end));
      if (range) {
        found = found ?? { minValue: range.low, maxValue: range.high };
        found = { minValue: Math.min(found.minValue, range.low), maxValue: Math.max(found.maxValue, range.high) };
      }
    }
    return found && { priceRange: found };
  }

  /**
   * Draw other windows from now on.
   * @param {number[]} slots
   * @param {number} width
   */
  setSlots(slots, width) {
    this.slots = slots;
    this.width = width;
    this.redraw();
  }

  redraw() {
    this.at?.requestUpdate();
  }

  /** The place of a moment on the time scale, as a number with a fraction. @param {number} moment */
  logical(moment) {
    const { slots, width } = this;
    if (!slots.length) return 0;
    const last = slots.length - 1;
    if (moment >= slots[last]) return last + (moment - slots[last]) / width;
    if (moment <= slots[0]) return (moment - slots[0]) / width;
    let low = 0;
    let high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (slots[middle] <= moment) low = middle;
      else high = middle;
    }
    return low + Math.min(1, (moment - slots[low]) / width);
  }

  /** The moment at a place of the time scale: the reverse of `logical`. @param {number} place */
  moment(place) {
    const { slots, width } = this;
    const at = Math.max(0, Math.min(slots.length - 1, Math.floor(place)));
    return slots[at] + (place - at) * width;
  }

  /** What is at a point of the pane. @param {{x: number, y: number}} point */
  hit(point) {
    for (const layer of [...this.layers].reverse()) {
      const found = layer.hit?.(point);
      if (found) return found;
    }
    return null;
  }

  /** @param {any} target @param {string} place */
  #draw(target, place) {
    if (!this.at) return;
    const { chart, series } = this.at;
    const scale = chart.timeScale();
    const spacing = scale.options().barSpacing;
    target.useMediaCoordinateSpace((/** @type {any} */ { context, mediaSize }) => {
      // coordinates of whole places only are asked for: between them it is a straight line
      const origin = scale.logicalToCoordinate(0) ?? 0;
      /** @type {Scales} */
      const scales = {
        x: (moment) => origin + this.logical(moment) * spacing,
        y: (price) => series.priceToCoordinate(price),
        width: mediaSize.width,
        height: mediaSize.height,
        spacing,
      };
      for (const layer of this.layers) {
        if (layer.place === place) {
          context.save();
          layer.draw(context, scales);
          context.restore();
        }
      }
    });
    if (place === "top") this.painted = performance.now();
  }
}
