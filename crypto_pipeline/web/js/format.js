// Figures and times as text. Times are UTC, as everywhere in the project.

export const NOTHING = "–";
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
/** @type {Map<number, Intl.NumberFormat>} */
const DECIMALS = new Map();

/** @param {number} value @param {number} digits after the point */
export function decimal(value, digits) {
  let made = DECIMALS.get(digits);
  if (made === undefined) {
    made = new Intl.NumberFormat("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    DECIMALS.set(digits, made);
  }
  return made.format(value);
}

/** A price with as many digits as its size needs. @param {number | null | undefined} value */
export function price(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  const size = Math.abs(value);
  return decimal(value, size >= 1000 ? 2 : size >= 10 ? 3 : size >= 0.1 ? 5 : 8);
}

/** @param {number | null | undefined} value */
export function whole(value) {
  return value === null || value === undefined ? NOTHING : WHOLE.format(value);
}

/** A share as signed percent. @param {number | null | undefined} share */
export function percent(share, digits = 2) {
  if (share === null || share === undefined || !Number.isFinite(share)) return NOTHING;
  return `${share > 0 ? "+" : share < 0 ? "−" : ""}${decimal(Math.abs(100 * share), digits)} %`;
}

/** A sum of money, which comes as text with all its digits. @param {string | number | null | undefined} value */
export function money(value, signed = false) {
  if (value === null || value === undefined) return NOTHING;
  const number = Number(value);
  const sign = number < 0 ? "−" : signed && number > 0 ? "+" : "";
  return sign + decimal(Math.abs(number), 2);
}

/** @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes >= 1e9 ? `${decimal(bytes / 1e9, 1)} GB` : `${decimal(bytes / 1e6, 0)} MB`;
}

/** @param {number | string | Date} moment Unix milliseconds or ISO 8601 */
export function clock(moment) {
  return new Date(moment).toISOString().slice(11, 19);
}

/** Date and time without seconds. @param {number | string | null | undefined} moment */
export function stamp(moment) {
  if (moment === null || moment === undefined) return NOTHING;
  return new Date(moment).toISOString().slice(0, 16).replace("T", " ");
}

/** The same without the year, for narrow columns. @param {number | string | null | undefined} moment */
export function shortStamp(moment) {
  return stamp(moment).slice(moment === null || moment === undefined ? 0 : 5);
}

/** Red or green for a signed figure. @param {number | null | undefined} value */
export function tone(value) {
  return value === null || value === undefined || value === 0 ? "" : value > 0 ? "good" : "bad";
}
