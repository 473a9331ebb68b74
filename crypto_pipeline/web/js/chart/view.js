// The chart as a whole: what is shown, from when, and everything that is drawn of it.

import { make, setText } from "../dom.js";
import { Canvas } from "./canvas.js";
import { Controls } from "./controls.js";
import { Drawing } from "./drawing.js";
import { Extras } from "./extras.js";
import { HolesLayer } from "./holes.js";
import { HolesList } from "./holes_list.js";
import { changesOfKnowledge } from "./knowledge.js";
import { Pointer } from "./pointer.js";
import { Series } from "./series.js";
import { Sight } from "./sight.js";
import { age, floorTo } from "./times.js";

/** @typedef {import("./archive.js").Choice} Choice */
/** @typedef {{start: number, end: number | null, from?: number, to?: number}} Span  loaded, and from where to where seen */

/** Windows beside the view that are loaded before they are reached. */
const AHEAD = 200;
/** Milliseconds for which the slider must rest, and after which forecast and account are read again. */
const RESTING = 80;
const AGAIN = 30_000;
const CREDIT = "TradingView Lightweight Charts™ · Copyright © 2025 TradingView, Inc.";

export class View {
  /**
   * @param {HTMLElement} element
   * @param {{api: any, stream: any, onBar?: (bar: any) => void, onTimeframe?: (timeframe: string) => void}} parts
   */
  constructor(element, { api, stream, onBar, onTimeframe }) {
    this.api = api;
    this.stream = stream;
    this.onBar = onBar ?? (() => {});
    /** @type {Choice} */
    this.choice = { instrument: "", timeframe: "1m", asOf: null, adjust: "none" };
    /** @type {Promise<Map<string, any>> | null} */
    this.instruments = null;
    /** @type {Series | null} */
    this.series = null;
    this.controls = new Controls({
      timeframe: onTimeframe ?? ((timeframe) => void this.show(this.choice.instrument, timeframe)),
      layer: (name, on) => this.#layer(name, on),
      adjust: (adjust) => void this.#open({ ...this.choice, adjust: /** @type {any} */ (adjust) }, this.#span()),
      goTo: (moment) => void this.goTo(moment),
      asOf: (moment) => this.#asOfSoon(moment),
      change: (direction) => this.#change(direction),
    });
    this.list = new HolesList((moment) => void this.goTo(moment));
    this.plot = make("div", { class: "chart-plot" });
    const credit = make("a", { href: "https://www.tradingview.com/", rel: "noreferrer" }, CREDIT);
    element.replaceChildren(
      this.controls.bar, this.plot, this.controls.past, this.list.legend, this.list.details,
      make("p", { class: "chart-credit" }, credit),
    );
    this.canvas = new Canvas(this.plot);
    this.holes = new HolesLayer();
    this.extras = new Extras(api, stream);
    this.drawing = new Drawing([this.holes, ...this.extras.layers]);
    this.canvas.candles.attachPrimitive(this.drawing);
    this.sight = new Sight(this.canvas.chart.timeScale(), this.drawing);
    this.pointer = new Pointer(this);
    this.canvas.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.#moved());
    this.dirty = false;
    this.loading = false;
    /** Whether nothing of the series was drawn yet, and which moments should be in sight then; null: the newest. */
    this.fresh = false;
    /** @type {{from: number, to: number} | null} */
    this.wanted = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resting = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.again = undefined;
    this.ticking = setInterval(() => this.#tick(), 1_000);
    this.extrasDue = 0;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.recolored = () => this.restyle();
    this.dark.addEventListener("change", this.recolored);
  }

  /** @param {string} instrument @param {string} timeframe */
  async show(instrument, timeframe) {
    const same = instrument === this.choice.instrument;
    await this.#open({ ...this.choice, instrument, timeframe, adjust: same ? this.choice.adjust : "none" }, null);
  }

  /** What was known at a moment; null: what is known now. @param {number | null} moment */
  async asOf(moment) {
    await this.#open({ ...this.choice, asOf: moment }, this.#span());
  }

  /**
   * Show the bars around a moment; null: the newest.
   * @param {number | null} moment
   */
  async goTo(moment) {
    const { series } = this;
    if (!series) return;
    if (moment === null) {
      if (!series.attached) await this.#open(this.choice, null);
      this.canvas.chart.timeScale().scrollToRealTime();
      return;
    }
    const { window } = series;
    if (moment >= window.start && moment < window.end) {
      this.sight.center(moment);
      return;
    }
    const at = floorTo(this.choice.timeframe, moment);
    const [half, seen] = [300 * window.width, 80 * window.width];
    const end = at + half > this.#now() ? null : at + half;
    await this.#open(this.choice, { start: at - half, end, from: moment - seen, to: moment + seen });
  }

  /** Take the colours of the page again. */
  restyle() {
    this.canvas.restyle();
    this.#drawSoon();
  }

  destroy() {
    this.series?.close();
    clearInterval(this.ticking);
    clearTimeout(this.resting);
    clearTimeout(this.again);
    this.dark.removeEventListener("change", this.recolored);
    this.canvas.chart.remove();
  }

  /**
   * Show another series, or the same one otherwise.
   * @param {Choice} wanted
   * @param {Span | null} span  null: the newest bars
   */
  async #open(wanted, span) {
    const choice = (this.choice = { ...wanted }); // an object of its own tells whether another one was opened meanwhile
    this.series?.close();
    clearTimeout(this.again);
    this.loading = true;
    this.fresh = true;
    this.wanted = span?.from === undefined || span.to === undefined ? null : { from: span.from, to: span.to };
    this.extras.clear();
    try {
      const stock = await this.#isStock(choice.instrument);
      if (this.choice !== choice) return;
      this.controls.choose(choice, stock);
      const series = new Series({
        api: this.api, stream: this.stream, choice, continuous: !stock,
        onChange: (what, bar) => this.#changed(series, what, bar),
      });
      this.series = series;
      this.extras.follow(series, () => this.drawing.redraw());
      await series.open(span);
      if (series.closed) return;
      this.#draw();
    } catch (error) {
      if (this.choice === choice) this.#failed(/** @type {any} */ (error), choice, span);
      return;
    } finally {
      if (this.choice === choice) this.loading = false;
    }
    void this.#readExtras();
    void this.#moved();
  }

  /**
   * Say what went wrong. A server that is away is asked again; what it refused it would refuse again.
   * @param {Error & {status?: number}} error
   * @param {Choice} choice
   * @param {Span | null} span
   */
  #failed(error, choice, span) {
    setText(this.controls.state, error.message);
    if (error.status && error.status < 500 && error.status !== 429) return;
    this.again = setTimeout(() => void this.#open(choice, span), 3_000);
  }

  /** @param {string} instrument */
  async #isStock(instrument) {
    this.instruments ??= this.api
      .get("instruments", { active_only: false })
      .then((/** @type {any} */ found) => new Map(found.rows.map((/** @type {any} */ row) => [row.instrument, row])));
    try {
      const known = await this.instruments;
      return (known?.get(instrument)?.calendar ?? "24/7") !== "24/7";
    } catch (error) {
      this.instruments = null;
      throw error;
    }
  }

  /** @param {Series} series @param {"bars" | "newest" | "notes"} what @param {import("./bars.js").Bar} [bar] */
  #changed(series, what, bar) {
    if (series !== this.series) return;
    if (bar) this.onBar(bar);
    if (what === "newest" && bar && !this.dirty && !this.fresh) {
      this.canvas.update(bar);
      this.drawing.setSlots(series.window.slots(), series.window.width);
      this.#tick();
    } else this.#drawSoon();
  }

  /** Draw with the next frame; many changes are drawn once. */
  #drawSoon() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => this.dirty && this.#draw());
  }

  #draw() {
    this.dirty = false;
    const { series } = this;
    if (!series || series.closed) return;
    const { window } = series;
    const none = series.choice.asOf === null ? "no bars are stored yet" : "no bars were stored then";
    setText(this.controls.state, window.bars.size ? "" : none);
    const slots = window.slots();
    const before = this.sight.moments();
    const shorter = (slots.at(-1) ?? 0) < (this.drawing.slots.at(-1) ?? 0);
    this.canvas.draw(slots, window.bars);
    this.holes.holes = window.holes();
    this.list.show(this.holes.holes, window.width);
    this.extras.arrange(series);
    this.drawing.setSlots(slots, window.width);
    if (this.fresh && this.wanted) this.sight.show(this.wanted);
    else if (this.fresh) this.sight.newest();
    else if (shorter && before) this.sight.show(before); // lightweight-charts counts from the newest bar
    this.fresh = false;
    this.#tick();
  }

  /** The loaded span, and what of it is in sight. */
  #span() {
    const window = this.series?.window;
    if (!window || window.empty) return null;
    return { start: window.start, end: this.series?.attached ? null : window.end, ...this.sight.moments() };
  }

  /** Load what is about to come into sight. */
  async #moved() {
    const { series, loading } = this;
    const range = this.sight.places();
    if (!series || loading || series.closed || !range || series.window.empty) return;
    const old = range.from < AHEAD;
    const fresh = !series.attached && range.to > this.drawing.slots.length - AHEAD;
    if (!old && !fresh) return;
    this.loading = true;
    let more = false;
    try {
      more = old ? await series.older() : await series.newer();
      if (old && !more && fresh) more = await series.newer();
      if (more) this.#draw();
    } catch {
      // the stream says when the server is back, and the next movement asks again
    } finally {
      if (this.series === series) this.loading = false;
    }
    if (more) void this.#moved();
  }

  async #readExtras() {
    this.extrasDue = Date.now() + AGAIN;
    const { series } = this;
    if (!series || series.closed) return;
    await this.extras.read(series);
    this.drawing.redraw();
  }

  /** @param {string} name @param {boolean} on */
  #layer(name, on) {
    this.extras.on[/** @type {import("./extras.js").ExtraName} */ (name)] = on;
    if (this.series) this.extras.arrange(this.series);
    this.drawing.redraw();
  }

  /** The slider moves faster than bars can be read. @param {number | null} moment */
  #asOfSoon(moment) {
    this.controls.showAsOf(moment);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => void this.asOf(moment), RESTING);
  }

  /** @param {-1 | 1} direction */
  #change(direction) {
    const { series } = this;
    if (!series) return;
    const moments = changesOfKnowledge(series);
    const here = this.choice.asOf ?? Infinity;
    const next = direction < 0 ? moments.findLast((one) => one < here) : moments.find((one) => one > here);
    void this.asOf(next ?? (direction < 0 ? this.choice.asOf : null));
  }

  /** The market's time: of a replayed recording it is years ago. */
  #now() {
    return this.stream?.marketTime() ?? Date.now();
  }

  /** Once a second: how old the last price is, and the span of the slider. */
  #tick() {
    const { series, controls } = this;
    if (!series || series.closed) return;
    const now = this.#now();
    const last = series.window.bars.get(this.drawing.slots.at(-1) ?? 0);
    setText(controls.last, last ? last.close.toFixed(this.canvas.digits) : "");
    if (!last) setText(controls.age, "");
    else {
      const closes = last.open_time + series.window.width;
      const traded = last.source === "forming" ? (/** @type {any} */ (last).time ?? now) : closes;
      setText(controls.age, `${last.source === "forming" ? "traded" : "closed"} ${age(now - traded)} ago`);
    }
    const sight = this.sight.moments();
    if (sight && this.choice.asOf === null) controls.setSpan(sight.from, now);
    if (Date.now() > this.extrasDue && this.choice.asOf === null) void this.#readExtras();
  }
}
