// The states of the ledger: the colour of a hole on the chart, and what the state means in one sentence.

/**
 * @typedef {object} StateStyle
 * @property {string} label
 * @property {string} meaning
 * @property {string} color  the same in dark and light: it is drawn solid, and with a part of its strength
 */

/** @type {Record<string, StateStyle>} */
export const STATES = {
  lost: { label: "lost", meaning: "We lost these bars. They are fetched again.", color: "#e5484d" },
  pending: { label: "pending", meaning: "It is too early to ask for these bars.", color: "#8b8d98" },
  unproven: { label: "unproven", meaning: "The venue has no bar here. That is not proven yet.", color: "#f5a524" },
  no_trade: { label: "no trade", meaning: "Nothing was traded.", color: "#4a90e2" },
  venue_outage: { label: "venue outage", meaning: "The venue was down.", color: "#9b5de5" },
  not_listed: { label: "not listed", meaning: "The venue did not list the instrument yet.", color: "#b08968" },
  delisted: { label: "delisted", meaning: "The venue no longer lists the instrument.", color: "#7f5539" },
  unfillable: { label: "unfillable", meaning: "Nobody has these bars any more.", color: "#d6409f" },
  closed: { label: "closed", meaning: "The exchange was closed.", color: "#12a594" },
  unasked: { label: "unasked", meaning: "Nothing has asked for these bars yet. A run does so within minutes.", color: "#c2a83e" },
  unexplained: { label: "unexplained", meaning: "The ledger has no row for these bars yet.", color: "#ffd60a" },
};

/**
 * @param {string} state
 * @returns {StateStyle}
 */
export function styleOf(state) {
  return STATES[state] ?? { label: state, meaning: "", color: "#8b8d98" };
}
