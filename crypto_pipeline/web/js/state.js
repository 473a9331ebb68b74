// The line in the page's head: whether the server answers, how the deployment is, and what time it is.

import { byId, make, setText } from "./dom.js";
import { clock } from "./format.js";
import { marketNow } from "./market_time.js";
import { ROOT } from "./api.js";

/** Seconds between two looks at whether the server has other files than this page was made of. */
const LOOK = 300;

/** @returns {{read: (failure: Error | null) => void, health: (status: string) => void, stream: (state: string) => void}} tell it */
export function startState() {
  let failure = /** @type {Error | null} */ (null);
  let health = "";
  let stream = "";
  const element = byId("connection");
  const show = () => {
    const down = failure !== null;
    const words = down ? `no answer: ${failure?.message}` : [stream, health && `health ${health}`].filter(Boolean).join(", ") || "connected";
    setText(element, words);
    element.className = down ? "bad" : health === "ok" ? "good" : health === "critical" ? "bad" : health === "" ? "" : "warn";
  };
  const time = byId("clock");
  setInterval(() => {
    if (!document.hidden) setText(time, `${clock(marketNow())} UTC`);
  }, 1000);
  watchBuild();
  return {
    read: (now) => {
      failure = now;
      show();
    },
    health: (now) => {
      health = now;
      show();
    },
    stream: (now) => {
      stream = now;
      show();
    },
  };
}

/** Says when the server was upgraded, so that nobody works with an old page for days. */
function watchBuild() {
  const own = /** @type {HTMLMetaElement} */ (document.querySelector("meta[name=build]")).content;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(new URL("web/build", ROOT), { cache: "no-store" });
      if (!answer.ok || (await answer.text()) === own) return;
    } catch {
      return; // the server is away
    }
    const notice = byId("notice");
    if (!notice.hidden) return;
    const again = make("button", { type: "button" }, "Load it");
    again.addEventListener("click", () => location.reload());
    notice.replaceChildren("The server has a newer page.", again);
    notice.hidden = false;
  };
  setInterval(look, LOOK * 1000);
  document.addEventListener("visibilitychange", look);
}
