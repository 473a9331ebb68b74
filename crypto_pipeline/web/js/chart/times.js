// Times of bars: the grid of each timeframe, and how moments are written. All times are Unix milliseconds, UTC.

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
/** The first Monday after 1970-01-01: weekly bars open on Mondays. */
const FIRST_MONDAY = 4 * DAY;

/** Width of the bars of each timeframe, in milliseconds. @type {Record<string, number>} */
export const WIDTHS = {
  "1m": MINUTE,
  "5m": 5 * MINUTE,
  "15m": 15 * MINUTE,
  "30m": 30 * MINUTE,
  "1h": 60 * MINUTE,
  "4h": 240 * MINUTE,
  "1d": DAY,
  "1w": 7 * DAY,
};

/**
 * The open time of the bar that holds a moment.
 * @param {string} timeframe
 * @param {number} moment
 */
export function floorTo(timeframe, moment) {
  const width = WIDTHS[timeframe];
  const origin = timeframe === "1w" ? FIRST_MONDAY : 0;
  return Math.floor((moment - origin) / width) * width + origin;
}

/**
 * A moment as a number, whether it came as a number or as RFC 3339.
 * @param {number | string | null | undefined} value
 * @returns {number | null}
 */
export function millis(value) {
  if (value === null || value === undefined) return null;
  return typeof value === "number" ? value : Date.parse(value);
}

/**
 * A moment as the API takes it.
 * @param {number} moment
 */
export function iso(moment) {
  return new Date(moment).toISOString();
}

/**
 * A moment for people: to the minute, or to the second where it has seconds.
 * @param {number | string | null | undefined} value
 */
export function said(value) {
  const moment = millis(value);
  if (moment === null || Number.isNaN(moment)) return "–";
  const text = new Date(moment).toISOString();
  const end = moment % MINUTE === 0 ? 16 : 19;
  return `${text.slice(0, 10)} ${text.slice(11, end)}`;
}

/**
 * How long ago something was, in words.
 * @param {number} milliseconds
 */
export function age(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
