// The dialog in which a person types the token of the server.

import { keepToken, onTokenNeeded } from "./api.js";
import { byId, setText } from "./dom.js";

/** Show the dialog whenever the server wants a token. */
export function startTokenDialog() {
  const dialog = byId("token");
  const text = byId("token-text");
  /** @type {(() => void) | null} */
  let done = null;
  byId("token-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    keepToken(text.value.trim());
    text.value = "";
    dialog.close();
    done?.();
  });
  dialog.addEventListener("cancel", (/** @type {Event} */ event) => event.preventDefault());
  onTokenNeeded((wrong) => {
    setText(byId("token-wrong"), wrong ? "The server does not take this token." : "");
    if (!dialog.open) dialog.showModal();
    return new Promise((resolve) => {
      done = resolve;
    });
  });
}
