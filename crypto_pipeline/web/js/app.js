// The live page: puts its parts together.

import { startAges } from "./ages.js";
import { addAccountCards } from "./cards/account.js";
import { addOperationCards } from "./cards/operations.js";
import { addShadowCard } from "./cards/shadow.js";
import { startColours } from "./colours.js";
import { startKeyboard } from "./keyboard.js";
import { startLive } from "./live.js";
import { onPlace, place } from "./place.js";
import { startSearch } from "./search.js";
import { startState } from "./state.js";
import { startTokenDialog } from "./token_dialog.js";
import { startWatchlist, watched } from "./watchlist.js";

/** Milliseconds after which the cards are read. */
const CARDS_AFTER = 300;

startTokenDialog();
startColours();
startKeyboard();
startAges();
const state = startState();
startWatchlist(state.read);
startSearch(watched);
onPlace(() => {
  document.title = `${place().instrument ?? ""} ${place().timeframe} crypto_pipeline`.trim();
});
const live = startLive(state.stream);
// the bars of the chart are asked for first
setTimeout(() => {
  const account = addAccountCards();
  addShadowCard();
  const operations = addOperationCards(state.health);
  readWhenTold("signals", [account.signals]);
  readWhenTold("trades", [account.account, account.positions, account.trades]);
  readWhenTold("alerts", [operations.alerts, operations.health]);
}, CARDS_AFTER);

/**
 * Read cards as soon as the stream tells of something that they show.
 * @param {string} channel
 * @param {(() => void)[]} cards
 */
function readWhenTold(channel, cards) {
  const read = () => cards.forEach((each) => each());
  let first = true;
  const snapshot = () => {
    if (!first) read();
    first = false;
  };
  live.stream.subscribe(channel, { snapshot, delta: read });
}

// what the canvas shows cannot be read from the page; programs that look at it find it here
Object.assign(window, { page: live });
