// The holes of the loaded span in words: a legend with counts, and a table that a screen reader can read.

import { make } from "../dom.js";
import { styleOf } from "./states.js";
import { said } from "./times.js";

/** Most rows of the table. */
const MOST_ROWS = 200;

export class HolesList {
  /** @param {(moment: number) => void} goTo */
  constructor(goTo) {
    this.goTo = goTo;
    this.legend = make("ul", { class: "chart-legend", "aria-label": "Holes of the loaded span" });
    this.summary = make("summary", {});
    this.body = make("tbody", {});
    const head = ["Reason", "From (UTC)", "Until (UTC)", "Bars", "Evidence"].map((each) => make("th", { scope: "col" }, each));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), this.body);
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Holes" }, table);
    this.details = make("details", { class: "chart-holes" }, this.summary, scroll);
    this.details.addEventListener("toggle", () => this.#fill());
    /** @type {import("./bars.js").Hole[]} */
    this.holes = [];
    this.width = 1;
  }

  /** @param {import("./bars.js").Hole[]} holes @param {number} width */
  show(holes, width) {
    this.holes = holes;
    this.width = width;
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const hole of holes) counts.set(hole.state, (counts.get(hole.state) ?? 0) + bars(hole, width));
    this.legend.replaceChildren(...[...counts].map(([state, count]) => this.#entry(state, count)));
    this.summary.textContent = holes.length === 1 ? "1 hole" : `${holes.length} holes`;
    this.#fill();
  }

  /** @param {string} state @param {number} count */
  #entry(state, count) {
    const { label, meaning, color } = styleOf(state);
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = color;
    return make("li", { title: meaning, "data-state": state }, swatch, `${label} ${count}`);
  }

  #fill() {
    if (!this.details.open) return;
    const rows = this.holes.slice(-MOST_ROWS).reverse().map((hole) => {
      const from = make("button", { type: "button", class: "plain" }, said(hole.start));
      from.addEventListener("click", () => this.goTo(hole.start));
      const words = [styleOf(hole.state).label, from, said(hole.end), String(bars(hole, this.width)), hole.row?.evidence ? JSON.stringify(hole.row.evidence) : ""];
      return make("tr", {}, ...words.map((each, place) => make("td", { class: place === 4 ? "words" : null }, each)));
    });
    this.body.replaceChildren(...rows);
  }
}

/** @param {import("./bars.js").Hole} hole @param {number} width */
function bars(hole, width) {
  return Math.round((hole.end - hole.start) / width);
}
