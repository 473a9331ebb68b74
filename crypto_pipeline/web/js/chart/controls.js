// The controls around the canvas: timeframe, what is drawn, where in the archive, and as of when.

import { make, setText } from "../dom.js";
import { WIDTHS, said } from "./times.js";

/** Places of the slider. */
const STEPS = 1_000;

/**
 * @typedef {object} Actions
 * @property {(timeframe: string) => void} timeframe
 * @property {(name: string, on: boolean) => void} layer
 * @property {(adjust: string) => void} adjust
 * @property {(moment: number | null) => void} goTo  null: the newest bar
 * @property {(moment: number | null) => void} asOf  null: now
 * @property {(direction: -1 | 1) => void} change  to the change of knowledge before or after
 */

/** @param {string} text @param {Record<string, any>} [more] */
function button(text, more = {}) {
  return make("button", { type: "button", ...more }, text);
}

/** A moment from a field of type datetime-local, which has no zone: it is UTC here. @param {string} value */
function fromField(value) {
  const moment = Date.parse(`${value}Z`);
  return Number.isNaN(moment) ? null : moment;
}

/** @param {string} label @param {string} name */
function momentField(label, name) {
  const field = make("input", { type: "datetime-local", step: "1", name, max: "9999-12-31T23:59:59" });
  return { field, element: make("label", {}, `${label} `, field) };
}

export class Controls {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.name = make("h2", { class: "chart-name" });
    this.last = make("span", { class: "chart-last" });
    this.age = make("span", { class: "age chart-age" });
    this.state = make("span", { class: "chart-state", role: "status" });
    this.timeframes = Object.keys(WIDTHS).map((each) => {
      const made = button(each, { "data-timeframe": each, "aria-pressed": "false" });
      made.addEventListener("click", () => actions.timeframe(each));
      return made;
    });
    this.layers = ["forecast", "trading", "revisions"].map((each) => {
      const made = button(each, { "data-layer": each, "aria-pressed": "true" });
      made.addEventListener("click", () => {
        const on = made.getAttribute("aria-pressed") !== "true";
        made.setAttribute("aria-pressed", String(on));
        actions.layer(each, on);
      });
      return made;
    });
    this.bar = this.#bar();
    this.past = this.#past();
    /** The moments at the ends of the slider. */
    this.from = 0;
    this.until = 0;
  }

  #bar() {
    this.adjust = make("select", { name: "adjust" }, ...["none", "splits", "all"].map((each) => make("option", { value: each }, each)));
    this.adjust.addEventListener("change", () => this.actions.adjust(this.adjust.value));
    this.adjustLabel = make("label", { hidden: true }, "Adjusted for ", this.adjust);
    const newest = button("Newest", { "data-newest": true });
    newest.addEventListener("click", () => this.actions.goTo(null));
    return make(
      "div",
      { class: "chart-bar" },
      make("div", { class: "chart-head" }, this.name, this.last, this.age, this.state),
      make("div", { role: "group", "aria-label": "Timeframe" }, ...this.timeframes),
      make("div", { role: "group", "aria-label": "Drawn besides bars and holes" }, ...this.layers),
      newest,
      this.adjustLabel,
    );
  }

  #past() {
    this.slider = make("input", { type: "range", min: "0", max: String(STEPS), step: "1", name: "as-of-slider", "aria-label": "As of" });
    this.slider.value = String(STEPS);
    this.slider.addEventListener("input", () => this.actions.asOf(this.#sliderMoment()));
    const { field, element } = momentField("As of (UTC)", "as-of");
    this.field = field;
    field.addEventListener("change", () => this.actions.asOf(field.value ? fromField(field.value) : null));
    const before = button("◂ change", { "data-change": "before", "aria-label": "Change of knowledge before" });
    const after = button("change ▸", { "data-change": "after", "aria-label": "Change of knowledge after" });
    this.now = button("Now", { "data-now": true });
    before.addEventListener("click", () => this.actions.change(-1));
    after.addEventListener("click", () => this.actions.change(1));
    this.now.addEventListener("click", () => this.actions.asOf(null));
    this.then = make("strong", { class: "chart-then", role: "status" });
    return make("div", { class: "chart-past" }, element, this.slider, before, after, this.now, this.#goTo(), this.then);
  }

  #goTo() {
    const { field, element } = momentField("Go to (UTC)", "goto");
    field.addEventListener("change", () => {
      const moment = fromField(field.value);
      if (moment !== null) this.actions.goTo(moment);
    });
    return element;
  }

  #sliderMoment() {
    const place = Number(this.slider.value);
    return place >= STEPS ? null : Math.round(this.from + ((this.until - this.from) * place) / STEPS);
  }

  /**
   * Say what is shown.
   * @param {import("./archive.js").Choice} choice
   * @param {boolean} stock
   */
  choose(choice, stock) {
    setText(this.name, choice.instrument);
    for (const each of this.timeframes) each.setAttribute("aria-pressed", String(each.dataset.timeframe === choice.timeframe));
    this.adjustLabel.hidden = !stock;
    this.adjust.value = choice.adjust;
    this.showAsOf(choice.asOf);
  }

  /** @param {number | null} moment */
  showAsOf(moment) {
    setText(this.then, moment === null ? "" : `As known at ${said(moment)} UTC`);
    this.now.disabled = moment === null;
    this.field.value = moment === null ? "" : new Date(moment).toISOString().slice(0, 19);
    if (moment === null) this.slider.value = String(STEPS);
    else if (moment !== this.#sliderMoment() && this.until > this.from) {
      const place = Math.round((STEPS * (moment - this.from)) / (this.until - this.from));
      this.slider.value = String(Math.max(0, Math.min(STEPS - 1, place)));
    }
    this.slider.setAttribute("aria-valuetext", moment === null ? "now" : `${said(moment)} UTC`);
  }

  /** The span of the slider, while it stands at now. @param {number} from @param {number} until */
  setSpan(from, until) {
    this.from = from;
    this.until = until;
  }
}
