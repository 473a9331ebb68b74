// One series as it is shown: its loaded bars, kept equal to what the API says by reads over HTTP and by the stream.

import { Archive } from "./archive.js";
import { BarWindow, MOST, toBar } from "./bars.js";
import { floorTo } from "./times.js";

/** @typedef {import("./archive.js").Choice} Choice */
/** @typedef {import("./bars.js").Bar} Bar */

/** Bars that are read first, and windows that are read with each step back. */
const FIRST = 600;
const STEP = 1_500;
/** Milliseconds between a change and the reading of the ledger, and between two readings without a change. */
const SETTLED = 1_000;
const CHECKED = 20_000;

/**
 * @typedef {object} SeriesParts
 * @property {import("./archive.js").Api} api
 * @property {{subscribe: (channel: string, handlers: any) => () => void} | null} stream
 * @property {Choice} choice
 * @property {boolean} continuous  whether every window may have a bar
 * @property {(what: "bars" | "newest" | "notes", bar?: Bar) => void} onChange
 */

export class Series {
  /** @param {SeriesParts} parts */
  constructor({ api, stream, choice, continuous, onChange }) {
    this.choice = choice;
    this.window = new BarWindow(choice.timeframe, continuous);
    this.onChange = onChange;
    this.ended = new AbortController();
    this.archive = new Archive(api, choice, this.ended.signal);
    this.stream = choice.asOf === null ? stream : null;
    /** Superseded copies by open time. @type {Map<number, Record<string, any>[]>} */
    this.revisions = new Map();
    /** Whether the loaded span ends with the newest bar. */
    this.attached = true;
    /** Where the archive begins; null: not known yet. @type {number | null} */
    this.first = null;
    /** Rows of the stream that came while bars are read over HTTP: they may be newer. @type {Bar[]} */
    this.log = [];
    this.reading = 0;
    this.snapshots = 0;
    /** @type {(() => void)[]} */
    this.subscriptions = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.due = Infinity;
    /** Whether a read failed whose span is to be read again. */
    this.missed = false;
    /** Reads follow one another: two of the same span would race. */
    this.queue = Promise.resolve();
  }

  get closed() {
    return this.ended.signal.aborted;
  }

  /**
   * Read the newest bars, or those of a span, and follow the stream.
   * @param {{start: number, end: number | null} | null} span  an end of null: up to the newest bar
   */
  async open(span) {
    const { window } = this;
    this.attached = span === null || span.end === null;
    this.#subscribe();
    await this.#read(async () => {
      let bars = span ? await this.archive.bars(span.start, span.end) : [];
      if (span && span.end !== null) return { bars, start: span.start, end: span.end };
      // nothing of the span was known at that moment: what was the newest then is shown
      if (!bars.length) bars = await this.archive.newest(FIRST);
      if (!bars.length) return { bars, start: 0, end: 0 };
      const last = bars[bars.length - 1].open_time;
      // a hole in between may make the span of so many bars very long
      const start = Math.max(Math.min(bars[0].open_time, span?.start ?? Infinity), last - (MOST / 2) * window.width);
      return { bars: bars.filter((bar) => bar.open_time >= start), start, end: last + window.width };
    });
    if (window.empty) return;
    await this.notes(window.start, window.end);
    this.#later(CHECKED);
  }

  /** Stop everything. */
  close() {
    this.ended.abort();
    clearTimeout(this.timer);
    for (const end of this.subscriptions.splice(0)) end();
  }

  /** Read what lies before the loaded span. @returns {Promise<boolean>} whether there was anything to read */
  async older() {
    const { window } = this;
    this.first ??= await this.archive.begin();
    if (this.closed || window.empty || this.first === null || window.start <= this.first) return false;
    const end = window.start;
    const start = Math.max(floorTo(this.choice.timeframe, this.first), end - STEP * window.width);
    await this.#read(async () => ({ bars: await this.archive.bars(start, end), start, end }));
    if (window.trim("new")) this.attached = false;
    await this.notes(start, end);
    return true;
  }

  /** Read what follows the loaded span, after it lost its newest part. */
  async newer() {
    const { window } = this;
    if (this.attached || window.empty) return false;
    const start = window.end;
    const end = start + STEP * window.width;
    let found = 0;
    await this.#read(async () => {
      const bars = await this.archive.bars(start, end);
      found = bars.length;
      const last = bars.at(-1)?.open_time ?? start - window.width;
      return { bars, start, end: bars.length ? last + window.width : start };
    });
    const reached = await this.archive.newest(1);
    if (this.closed) return false;
    this.attached = !reached.length || reached[0].open_time < window.end;
    // a hole as long as the page: go on behind it
    if (!found && !this.attached) window.extend(end);
    window.trim("old");
    await this.notes(start, window.end);
    return true;
  }

  /**
   * Read a span again, as far as it is loaded.
   * @param {number} from
   * @param {number} until
   */
  async refresh(from, until) {
    const { window } = this;
    const start = Math.max(from, window.start);
    const end = Math.min(until, window.end);
    if (window.empty || start >= end) return;
    await this.#read(async () => ({ bars: await this.archive.bars(start, end), start, end }));
    await this.notes(start, end);
  }

  /**
   * Read the ledger and the superseded copies of a span.
   * @param {number} start
   * @param {number} end
   */
  async notes(start, end) {
    const { asOf } = this.choice;
    const until = asOf === null ? end : Math.min(end, asOf);
    if (start >= until) return;
    const [gaps, copies] = await Promise.all([this.archive.gaps(start, until), this.archive.revisions(start, until)]);
    if (this.closed) return;
    this.window.setGaps(gaps, start, end);
    const { window } = this;
    for (const time of this.revisions.keys()) {
      if ((time >= start && time < end) || time < window.start || time >= window.end) this.revisions.delete(time);
    }
    for (const copy of copies) {
      if (asOf !== null && Date.parse(copy.recorded_at) > asOf) continue;
      const kept = this.revisions.get(copy.open_time);
      if (kept) kept.push(copy);
      else this.revisions.set(copy.open_time, [copy]);
    }
    this.onChange("notes");
  }

  #subscribe() {
    const { stream, choice } = this;
    if (!stream) return;
    const name = `${choice.instrument}/${choice.timeframe}`;
    this.subscriptions.push(
      stream.subscribe(`bars/${name}`, {
        snapshot: (/** @type {any[]} */ rows) => this.#snapshot(rows.map(toBar)),
        delta: (/** @type {any[]} */ rows) => this.#rows(rows.map(toBar)),
        changed: (/** @type {[number, number][]} */ spans) => {
          for (const [start, end] of spans) this.#quietly(this.refresh(start, end));
        },
      }),
    );
    if (choice.adjust !== "none") return; // the stream has prices as they were traded
    const forming = (/** @type {any[]} */ rows) => this.#forming(rows.map(toBar));
    this.subscriptions.push(stream.subscribe(`forming/${name}`, { snapshot: forming, delta: forming }));
  }

  /**
   * The newest bars as a whole: one that is not among them is gone. What lies before them `changed` tells.
   * @param {Bar[]} rows
   */
  #snapshot(rows) {
    const { window } = this;
    const again = this.snapshots++ > 0;
    if (!rows.length || window.empty || this.reading || !this.attached || this.choice.adjust !== "none") {
      this.#rows(rows);
      if (again) this.#quietly(this.refresh(window.start, window.end));
      return;
    }
    const since = window.end;
    const first = rows[0].open_time;
    const start = Math.max(window.start, Math.min(first, since));
    const end = rows[rows.length - 1].open_time + window.width;
    window.replace(rows.filter((bar) => bar.open_time >= start), start, end);
    if (first > since) this.#quietly(this.refresh(since, first));
    this.onChange("bars");
    this.#later(SETTLED);
  }

  /** @param {Bar[]} rows */
  #rows(rows) {
    if (this.choice.adjust !== "none") {
      // only the server knows what a bar of the stream is on the adjusted basis
      if (rows.length) this.#quietly(this.#reread());
      return;
    }
    if (this.reading) this.log.push(...rows);
    this.#put(rows);
  }

  async #reread() {
    const { window } = this;
    if (window.empty) return;
    if (this.attached) {
      const newest = await this.archive.newest(1);
      if (newest.length) window.extend(newest[0].open_time + window.width);
    }
    await this.refresh(window.start, window.end);
  }

  /** @param {Bar[]} rows */
  #forming(rows) {
    // a stored bar is better than the same one while it was forming
    const kept = rows.filter(({ open_time: time }) => (this.window.bars.get(time)?.source ?? "forming") === "forming");
    if (this.reading) this.log.push(...kept);
    this.#put(kept);
  }

  /** @param {Bar[]} rows */
  #put(rows) {
    if (!rows.length) return;
    if (this.window.empty) {
      if (this.reading) return;
      this.window.replace([], rows[0].open_time, rows[0].open_time + this.window.width);
    }
    const newest = this.window.end;
    const shape = this.window.put(rows, this.attached);
    if (shape || rows.length > 1) {
      if (this.window.trim("old")) this.first = null;
      this.onChange("bars", rows.at(-1));
      this.#later(SETTLED);
    } else if (rows[0].open_time >= newest - this.window.width) {
      this.onChange("newest", rows[0]);
    }
  }

  /** Read over HTTP and take it in, then what the stream said meanwhile. @param {() => Promise<any>} ask */
  #read(ask) {
    const done = this.queue.then(async () => {
      if (this.closed) return;
      this.reading += 1;
      try {
        const { bars, start, end } = await ask();
        if (this.closed || start >= end) return;
        this.window.replace(bars, start, end);
        this.window.put(this.log.filter((bar) => this.#better(bar)), this.attached);
        this.onChange("bars");
      } finally {
        this.reading -= 1;
        if (!this.reading) this.log = [];
      }
    });
    this.queue = done.catch(() => {});
    return done;
  }

  /** @param {Bar} bar */
  #better(bar) {
    const known = this.window.bars.get(bar.open_time);
    return bar.source !== "forming" || !known || known.source === "forming";
  }

  /** Read ledger and copies again in a while. @param {number} milliseconds */
  #later(milliseconds) {
    const due = Date.now() + milliseconds;
    if (this.closed || due >= this.due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => {
      this.due = Infinity;
      this.#quietly(this.#check().finally(() => this.#later(CHECKED)));
    }, milliseconds);
  }

  async #check() {
    this.#dropFormed();
    const { window } = this;
    if (this.choice.adjust !== "none") return this.#reread();
    if (!this.missed) return this.notes(window.start, window.end);
    await this.refresh(window.start, window.end);
    this.missed = false;
    return undefined;
  }

  /** A bar that is no longer forming, and was not stored, is no bar. */
  #dropFormed() {
    const forming = [...this.window.bars.values()].filter((bar) => bar.source === "forming");
    const newest = Math.max(...forming.map((bar) => bar.open_time));
    const old = forming.filter((bar) => bar.open_time < newest);
    for (const bar of old) this.window.bars.delete(bar.open_time);
    if (old.length) this.onChange("bars");
  }

  /** Nobody waits for this: what fails is done again later. @param {Promise<any>} work */
  #quietly(work) {
    work.catch(() => {
      this.missed = true;
      this.#later(SETTLED);
    });
  }
}
