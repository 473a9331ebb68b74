// A line over time, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 130;

/**
 * Draw values over equal steps, with a dashed line at `base`.
 * @param {HTMLElement} body keeps the picture from one read to the next
 * @param {number[]} values
 * @param {number} base
 * @param {string} words what it shows, for who does not see it
 */
export function showCurve(body, values, base, words) {
  let svg = /** @type {SVGElement | null} */ (body.querySelector("svg.curve"));
  if (svg === null) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "curve");
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    for (const name of ["base", "line"]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      svg.append(path);
    }
    body.append(svg);
  }
  svg.setAttribute("aria-label", words);
  const low = Math.min(base, ...values);
  const high = Math.max(base, ...values);
  const room = high - low || Math.abs(base) || 1;
  /** @param {number} value */
  const y = (value) => (HEIGHT - 6 - ((value - low) / room) * (HEIGHT - 12)).toFixed(1);
  /** @param {number} at */
  const x = (at) => ((at * WIDTH) / Math.max(1, values.length - 1)).toFixed(1);
  const points = values.map((value, at) => `${at === 0 ? "M" : "L"}${x(at)} ${y(value)}`).join("");
  svg.children[0].setAttribute("d", `M0 ${y(base)}H${WIDTH}`);
  svg.children[1].setAttribute("d", points);
}
