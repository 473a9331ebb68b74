// The live page: puts its parts together.

import { startAges } from "./ages.js";
import { addAccountCards } from "./cards/account.js";
import { addOperationCards } from "./cards/operations.js";
import { addShadowCard } from "./cards/shadow.js";
import { startColours } from "./colours.js";
import { byId } from "./dom.js";
import { startKeyboard } from "./keyboard.js";
import { onPlace, place } from "./place.js";
import { startSearch } from "./search.js";
import { startState } from "./state.js";
import { startTokenDialog } from "./token_dialog.js";
import { startWatchlist, watched } from "./watchlist.js";

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
addAccountCards();
addOperationCards(state.health);
addShadowCard();
byId("cards").setAttribute("aria-busy", "false");
