// Elements by name, with text only: nothing that a server says is ever read as HTML.

/**
 * @param {string} id
 * @returns {any} the element; an error where the page has none
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found;
}

/**
 * A new element.
 * @param {string} name
 * @param {Record<string, string | boolean | null | undefined>} [attributes] null, undefined, false: left out
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set a text without touching the page where it is the same. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Bring the rows of a table in line with `rows`; elements of rows that stay are kept.
 * @template T
 * @param {HTMLElement} body
 * @param {T[]} rows
 * @param {(row: T) => string} keyOf
 * @param {(row: T) => HTMLElement} create
 * @param {(element: any, row: T) => void} fill
 */
export function keyed(body, rows, keyOf, create, fill) {
  /** @type {Map<string, HTMLElement>} */
  const kept = new Map();
  for (const element of /** @type {HTMLElement[]} */ ([...body.children])) kept.set(element.dataset.key ?? "", element);
  let before = /** @type {Element | null} */ (body.firstElementChild);
  for (const row of rows) {
    const key = keyOf(row);
    let element = kept.get(key);
    if (element === undefined) {
      element = create(row);
      element.dataset.key = key;
    }
    kept.delete(key);
    if (element === before) before = element.nextElementSibling;
    else body.insertBefore(element, before);
    fill(element, row);
  }
  for (const element of kept.values()) element.remove();
}
