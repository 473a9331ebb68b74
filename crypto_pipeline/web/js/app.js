// The live page: puts its parts together.

import { startAges } from "./ages.js";
import { byId } from "./dom.js";
import { clock } from "./format.js";
import { startTokenDialog } from "./token_dialog.js";
import { startWatchlist } from "./watchlist.js";

startTokenDialog();
startAges();
const connection = byId("connection");
startWatchlist((failure) => {
  connection.textContent = failure === null ? "connected" : `not connected: ${failure.message}`;
});
setInterval(() => {
  byId("clock").textContent = `${clock(Date.now())} UTC`;
}, 1000);
