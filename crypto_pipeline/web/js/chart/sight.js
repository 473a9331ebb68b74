// What is in sight: a range of the time scale as moments, which stay the same when windows come before it.

/** Windows in sight at first, and beside a moment that is gone to. */
const FIRST = 160;
const BESIDE = 80;

export class Sight {
  /** @param {any} scale  of lightweight-charts @param {import("./drawing.js").Drawing} drawing */
  constructor(scale, drawing) {
    this.scale = scale;
    this.drawing = drawing;
  }

  /** First and last place in sight, with fractions. @returns {{from: number, to: number} | null} */
  places() {
    return this.scale.getVisibleLogicalRange();
  }

  /** First and last moment in sight. @returns {{from: number, to: number} | null} */
  moments() {
    const range = this.places();
    if (!range || !this.drawing.slots.length) return null;
    const from = this.drawing.moment(range.from);
    return { from, to: from + (range.to - range.from) * this.drawing.width };
  }

  /** @param {{from: number, to: number}} moments */
  show({ from, to }) {
    const start = this.drawing.logical(from);
    this.scale.setVisibleLogicalRange({ from: start, to: start + (to - from) / this.drawing.width });
  }

  /** @param {number} moment */
  center(moment) {
    const at = this.drawing.logical(moment);
    this.scale.setVisibleLogicalRange({ from: at - BESIDE, to: at + BESIDE });
  }

  newest() {
    const count = this.drawing.slots.length;
    this.scale.setVisibleLogicalRange({ from: Math.max(-5, count - FIRST), to: count + 8 });
  }
}
