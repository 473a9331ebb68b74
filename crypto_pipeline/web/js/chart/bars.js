// The bars that are loaded: one contiguous span of one series, bounded in size, with the holes between them.

import { WIDTHS, floorTo, millis } from "./times.js";

/** Most windows that are kept; beyond it the far side of the span is dropped. */
export const MOST = 20_000;

/**
 * @typedef {object} Bar
 * @property {number} open_time
 * @property {number} open
 * @property {number} high
 * @property {number} low
 * @property {number} close
 * @property {number} volume
 * @property {number | null} [trade_count]
 * @property {string} [source]
 * @property {boolean} [complete]
 */

/**
 * A run of windows without a bar.
 * @typedef {object} Hole
 * @property {number} start
 * @property {number} end
 * @property {string} state
 * @property {Record<string, any> | null} row  the row of the ledger; null: there is none yet
 */

/**
 * A row of the API or of the stream as a bar, with its times as numbers.
 * @param {Record<string, any>} row
 * @returns {Bar}
 */
export function toBar(row) {
  return /** @type {Bar} */ ({ ...row, open_time: millis(row.open_time) });
}

export class BarWindow {
  /**
   * @param {string} timeframe
   * @param {boolean} continuous  whether every window may have a bar; false for stocks, which have sessions
   */
  constructor(timeframe, continuous) {
    this.timeframe = timeframe;
    this.width = WIDTHS[timeframe];
    this.continuous = continuous;
    /** @type {Map<number, Bar>} */
    this.bars = new Map();
    /** @type {Record<string, any>[]} rows of the ledger, by start */
    this.gaps = [];
    /** The span that was read, half-open; empty at first. */
    this.start = this.end = 0;
    /** @type {number[] | null} */
    this.kept = null;
  }

  get empty() {
    return this.start === this.end;
  }

  /**
   * Put what was read of a span in the place of what is there. The span must touch the loaded one, or that be empty.
   * @param {Bar[]} bars
   * @param {number} start
   * @param {number} end
   */
  replace(bars, start, end) {
    for (const time of this.bars.keys()) if (time >= start && time < end) this.bars.delete(time);
    for (const bar of bars) this.bars.set(bar.open_time, bar);
    this.start = this.empty ? start : Math.min(this.start, start);
    this.end = Math.max(this.end, end);
    this.kept = null;
  }

  /** Let the span end later, with what is read next. @param {number} end */
  extend(end) {
    this.end = Math.max(this.end, end);
    this.kept = null;
  }

  /**
   * Put single bars in: of the loaded span, and such as follow it.
   * @param {Bar[]} bars
   * @param {boolean} growing  whether bars after the span extend it
   * @returns {boolean} whether anything changed but the newest bar
   */
  put(bars, growing) {
    let shape = false;
    for (const bar of bars) {
      const time = bar.open_time;
      if (this.empty || time < this.start || (time >= this.end && !growing)) continue;
      if (time === this.end && this.kept?.at(-1) === time - this.width) this.kept.push(time);
      else if (!this.bars.has(time) || time + this.width < this.end) shape = true;
      this.bars.set(time, bar);
      this.end = Math.max(this.end, time + this.width);
    }
    if (shape) this.kept = null;
    return shape;
  }

  /**
   * Rows of the ledger that overlap a span, in the place of those that are there.
   * @param {Record<string, any>[]} rows
   * @param {number} start
   * @param {number} end
   */
  setGaps(rows, start, end) {
    const kept = this.gaps.filter((row) => row.until <= start || row.since >= end);
    const known = new Set(kept.map(key));
    for (const row of rows) {
      const made = { ...row, since: millis(row.start), until: millis(row.end) };
      if (!known.has(key(made))) kept.push(made);
    }
    this.gaps = kept.sort((a, b) => a.since - b.since);
    this.kept = null;
  }

  /**
   * Drop windows from one side until the rest is no more than MOST.
   * @param {"old" | "new"} side
   * @returns {boolean} whether any were dropped
   */
  trim(side) {
    const slots = this.slots();
    if (slots.length <= MOST) return false;
    if (side === "old") this.start = slots[slots.length - MOST];
    else this.end = slots[MOST];
    for (const time of this.bars.keys()) if (time < this.start || time >= this.end) this.bars.delete(time);
    this.gaps = this.gaps.filter((row) => row.until > this.start && row.since < this.end);
    this.kept = null;
    return true;
  }

  /** The open times that have a place on the time scale, with a bar or without, ascending. @returns {number[]} */
  slots() {
    this.kept ??= this.continuous ? this.#everyWindow() : this.#sessions();
    return this.kept;
  }

  #everyWindow() {
    const slots = [];
    let last = -Infinity;
    for (const time of this.bars.keys()) last = Math.max(last, time);
    for (const row of this.gaps) last = Math.max(last, Math.min(row.until, this.end) - this.width);
    const first = this.bars.size || this.gaps.length ? floorTo(this.timeframe, this.start + this.width - 1) : Infinity;
    for (let time = first; time <= last; time += this.width) slots.push(time);
    return slots;
  }

  #sessions() {
    const found = new Set(this.bars.keys());
    for (const row of this.gaps) {
      const since = Math.max(row.since, this.start);
      // a closure has one place, however long it is
      const until = row.state === "closed" ? Math.min(since + this.width, this.end) : Math.min(row.until, this.end);
      for (let time = since; time < until; time += this.width) found.add(time);
    }
    return [...found].sort((a, b) => a - b);
  }

  /** The runs of windows without a bar, each with its reason, ascending. @returns {Hole[]} */
  holes() {
    /** @type {Hole[]} */
    const holes = [];
    let at = 0;
    for (const time of this.slots()) {
      if (this.bars.has(time)) continue;
      while (at < this.gaps.length && this.gaps[at].until <= time) at += 1;
      const row = at < this.gaps.length && this.gaps[at].since <= time ? this.gaps[at] : null;
      const before = holes.at(-1);
      const end = row?.state === "closed" ? row.until : time + this.width;
      if (before && before.end === time && before.row === row) before.end = end;
      else holes.push({ start: time, end, state: row ? row.state : "unexplained", row });
    }
    return holes;
  }

  /** The bars in order. @returns {Bar[]} */
  inOrder() {
    return [...this.bars.values()].sort((a, b) => a.open_time - b.open_time);
  }
}

/** @param {Record<string, any>} row */
function key(row) {
  return row.gap_id === null || row.gap_id === undefined ? `${row.state} ${row.since}` : row.gap_id;
}
