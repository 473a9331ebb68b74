// Holes: runs of windows without a bar, drawn over the whole height in the colour of their reason.

import { styleOf } from "./states.js";

/** @typedef {import("./bars.js").Hole} Hole */
/** @typedef {import("./drawing.js").Scales} Scales */

/** Height of the solid strip at the lower edge, in pixels. */
const STRIP = 8;

export class HolesLayer {
  constructor() {
    /** @type {"bottom"} */
    this.place = "bottom";
    /** @type {Hole[]} */
    this.holes = [];
    /** Where the holes in sight were drawn last. @type {{hole: Hole, left: number, right: number, strip: number}[]} */
    this.drawn = [];
  }

  /** @param {CanvasRenderingContext2D} context @param {Scales} scales */
  draw(context, scales) {
    this.drawn = [];
    const half = scales.spacing / 2;
    for (const hole of this.holes) {
      const left = scales.x(hole.start) - half;
      // a hole is never narrower than a pixel, or it could not be seen among thousands of bars
      const right = Math.max(scales.x(hole.end) - half, left + 1);
      if (right < 0 || left > scales.width) continue;
      const { color, label } = styleOf(hole.state);
      const from = Math.max(left, 0);
      const width = Math.min(right, scales.width) - from;
      context.fillStyle = `${color}33`;
      context.fillRect(from, 0, width, scales.height);
      context.fillStyle = color;
      context.fillRect(from, scales.height - STRIP, width, STRIP);
      this.drawn.push({ hole, left: from, right: from + width, strip: scales.height - STRIP / 2 });
      context.font = "11px system-ui, sans-serif";
      if (context.measureText(label).width + 8 < width) {
        context.textAlign = "center";
        context.fillText(label, from + width / 2, scales.height - STRIP - 6);
      }
    }
  }

  /** @param {{x: number, y: number}} point */
  hit({ x }) {
    const found = this.drawn.find(({ left, right }) => x >= left && x <= right);
    return found ? { kind: "hole", hole: found.hole } : null;
  }
}
