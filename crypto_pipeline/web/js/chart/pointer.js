// What is under the pointer or the keyboard's cursor: a tooltip, and the same words for a screen reader.

import { make, setText } from "../dom.js";
import { styleOf } from "./states.js";
import { said } from "./times.js";
import { Tooltip, barWords, holeWords, rowWords } from "./tooltip.js";

const HELP = "Arrow keys go from bar to bar, with Shift ten at a time; Home and End to the ends; plus and minus zoom.";

export class Pointer {
  /** @param {import("./view.js").View} view */
  constructor(view) {
    this.view = view;
    const { plot, canvas } = view;
    this.tooltip = new Tooltip(plot);
    this.spoken = make("p", { class: "unseen", role: "status", "aria-live": "polite" });
    plot.after(this.spoken);
    for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-roledescription": "chart", title: "" })) {
      plot.setAttribute(name, value);
    }
    plot.setAttribute("aria-label", `Candles and holes. ${HELP}`);
    /** The place of the keyboard's cursor. @type {number | null} */
    this.cursor = null;
    canvas.chart.subscribeCrosshairMove((/** @type {any} */ move) => this.#moved(move));
    plot.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    plot.addEventListener("blur", () => this.#leave());
  }

  /** @param {any} move */
  #moved({ point, logical, paneIndex, sourceEvent }) {
    // without a pointer's event it is the keyboard's cursor, or a new bar under a pointer that rests
    if (!sourceEvent && this.cursor !== null) return;
    this.cursor = null;
    if (!point || logical === undefined || logical === null) {
      this.tooltip.hide();
      return;
    }
    this.#tell(paneIndex ? null : this.view.drawing.hit(point), Math.round(logical), point);
  }

  /**
   * Show what is at a place of the time scale; a mark or a hole that was hit comes first.
   * @param {any} hit
   * @param {number} at
   * @param {{x: number, y: number}} point
   */
  #tell(hit, at, point) {
    const { series, drawing } = this.view;
    const bar = series?.window.bars.get(drawing.slots[at]);
    if (hit?.kind === "hole") this.tooltip.show(hit.hole, () => holeWords(hit.hole), point);
    else if (hit && hit.kind !== "revisions" && !(bar && hit.kind === "forecast")) {
      this.tooltip.show(hit.row, () => rowWords(hit.kind, hit.row), point);
    } else if (bar) this.tooltip.show(bar, () => barWords(bar, series?.revisions.get(bar.open_time) ?? []), point);
    else this.tooltip.hide();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { view } = this;
    const { slots } = view.drawing;
    if (!slots.length || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = slots.length - 1;
    const here = this.cursor ?? last;
    const step = event.shiftKey ? 10 : 1;
    /** @type {Record<string, number>} */
    const places = { ArrowLeft: here - step, ArrowRight: here + step, Home: 0, End: last };
    if (event.key in places) this.#go(Math.max(0, Math.min(last, places[event.key])));
    else if (event.key === "+" || event.key === "-") this.#zoom(event.key === "+" ? 0.8 : 1.25);
    else if (event.key === "Escape") this.#leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} at */
  #go(at) {
    const { drawing, canvas, series, holes } = this.view;
    const scale = canvas.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (range && (at < range.from || at > range.to)) {
      const half = (range.to - range.from) / 2;
      scale.setVisibleLogicalRange({ from: at - half, to: at + half });
    }
    this.cursor = at;
    const time = drawing.slots[at];
    const bar = series?.window.bars.get(time);
    const hole = bar ? null : holes.holes.find((one) => time >= one.start && time < one.end);
    const x = scale.logicalToCoordinate(/** @type {any} */ (at)) ?? 0;
    if (bar) canvas.chart.setCrosshairPosition(bar.close, /** @type {any} */ (time / 1000), canvas.candles);
    else canvas.chart.clearCrosshairPosition();
    const y = bar ? (canvas.candles.priceToCoordinate(bar.close) ?? 0) : 20;
    this.#tell(hole ? { kind: "hole", hole } : null, at, { x, y });
    setText(this.spoken, bar ? barText(bar) : hole ? holeText(hole) : "");
  }

  /** @param {number} factor */
  #zoom(factor) {
    const scale = this.view.canvas.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (range) scale.setVisibleLogicalRange({ from: range.to - (range.to - range.from) * factor, to: range.to });
  }

  #leave() {
    this.cursor = null;
    this.view.canvas.chart.clearCrosshairPosition();
    this.tooltip.hide();
  }
}

/** @param {import("./bars.js").Bar} bar */
function barText({ open_time: time, open, high, low, close, volume }) {
  return `${said(time)}: open ${open}, high ${high}, low ${low}, close ${close}, volume ${volume}`;
}

/** @param {import("./bars.js").Hole} hole */
function holeText(hole) {
  const { label, meaning } = styleOf(hole.state);
  return `No bars from ${said(hole.start)} to ${said(hole.end)}: ${label}. ${meaning}`;
}
