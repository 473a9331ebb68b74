// A card: a titled part of the page that reads something again and again, and says how old it is.

import { tellAge } from "../ages.js";
import { get } from "../api.js";
import { byId, make, setText } from "../dom.js";
import { poll } from "../polling.js";

/**
 * Adds a card below the chart.
 * @param {object} card
 * @param {string} card.id
 * @param {string} card.title
 * @param {number} card.every seconds between two reads
 * @param {() => Promise<any>} card.read
 * @param {(body: HTMLElement, answer: any, aside: HTMLElement) => void} card.draw shows an answer; `aside` stands beside the title
 * @returns {() => void} reads now
 */
export function addCard({ id, title, every, read, draw }) {
  const aside = make("span");
  const age = make("span", { class: "age" }, "reading");
  const failed = make("p", { class: "failed", hidden: true });
  const body = make("div", { class: "body" });
  const heading = make("h2", { id: `${id}-title` }, title);
  const card = make(
    "section",
    { id, class: "card", "aria-labelledby": heading.id, "aria-busy": "true" },
    make("div", { class: "title" }, heading, aside, age), failed, body,
  );
  byId("cards").append(card);
  return poll(every, async () => {
    try {
      draw(body, await read(), aside);
      tellAge(age, Date.now(), { old: 3 * every, words: "read " });
      failed.hidden = true;
    } catch (failure) {
      setText(failed, `It cannot be read: ${/** @type {Error} */ (failure).message}`);
      failed.hidden = false;
    }
    card.setAttribute("aria-busy", "false");
  });
}

/**
 * A card's reading of an address.
 * @param {string} path
 * @param {Record<string, string | number | boolean>} [query]
 */
export function reading(path, query = {}) {
  return () => get(path, query);
}

/** @param {HTMLElement} body @param {string} words instead of rows */
export function nothing(body, words) {
  body.replaceChildren(make("p", { class: "muted" }, words));
}

/**
 * A description list of figures; the same elements are kept from one read to the next.
 * @param {HTMLElement} body
 * @param {[string, string, string?][]} figures name, text, class
 */
export function figures(body, figures) {
  let list = /** @type {HTMLElement | null} */ (body.querySelector("dl.figures"));
  if (list === null || list.children.length !== figures.length) {
    list?.remove();
    list = make("dl", { class: "figures" }, ...figures.map(([name]) => make("div", {}, make("dt", {}, name), make("dd"))));
    body.prepend(/** @type {HTMLElement} */ (list));
  }
  figures.forEach(([name, text, tone = ""], at) => {
    const [term, value] = /** @type {HTMLElement[]} */ ([.../** @type {HTMLElement} */ (list).children[at].children]);
    setText(term, name);
    setText(value, text);
    value.className = tone;
  });
}
