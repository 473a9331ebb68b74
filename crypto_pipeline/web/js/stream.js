/**
 * The stream of this server, for pages: it connects, follows channels, goes on where it was after a break, and survives
 * a page that was frozen. What the frames hold is described at `/asyncapi.json`.
 *
 * @module
 */

/** Milliseconds without any frame after which a connection counts as broken. The server says something every 5 s. */
const SILENCE = 15_000;
/** Milliseconds between attempts to connect: the first and the longest pause. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;
/** How often silence is looked for, in milliseconds. */
const LOOK_EVERY = 2_500;

/**
 * @typedef {Record<string, any>} Row a row of a channel; times are Unix milliseconds
 * @typedef {[number, number]} Span begin and end in Unix milliseconds, half-open
 * @typedef {"connecting" | "open" | "waiting" | "closed"} StreamState
 *
 * @typedef {object} Handlers what is called with what a channel sends
 * @property {(rows: Row[]) => void} [snapshot] all rows as they are now; what was known before is void
 * @property {(rows: Row[]) => void} [delta] rows that replace those of the same key
 * @property {(spans: Span[]) => void} [changed] spans of bars to be read again over HTTP
 * @property {(detail: string) => void} [error] the channel cannot be followed
 *
 * @typedef {object} Followed
 * @property {Set<Handlers>} handlers
 * @property {number | null} seq number of the newest frame; null: none came yet
 * @property {string | null} epoch of the process that numbered it
 * @property {boolean} asked another snapshot was asked for by us
 *
 * @typedef {object} Stream
 * @property {(channel: string, handlers: Handlers) => () => void} subscribe follows a channel; the result ends that
 * @property {StreamState} state
 * @property {"ok" | "away" | "unknown"} database whether the server hears its database
 * @property {(listener: (state: StreamState) => void) => () => void} onState
 * @property {() => number} marketTime the market's time now, Unix milliseconds; the page's own before the first frame
 * @property {() => void} close
 */

/**
 * Open a stream. It goes on until `close` is called.
 *
 * @param {object} options
 * @param {string | URL} [options.url] of the websocket; by default `/stream` of the page's own server
 * @param {(() => Promise<string | null>) | null} [options.ticket] gets a one-time ticket before each attempt to
 *     connect, from `POST /stream/ticket`; null or absent: the server needs none
 * @returns {Stream}
 */
export function openStream({ url = "/stream", ticket = null } = {}) {
  return new Connection(new URL(url, globalThis.location?.href), ticket);
}

/** @implements {Stream} */
class Connection {
  /**
   * @param {URL} url
   * @param {(() => Promise<string | null>) | null} ticket
   */
  constructor(url, ticket) {
    this.url = url;
    this.url.protocol = url.protocol.replace("http", "ws");
    this.ticket = ticket;
    /** @type {Map<string, Followed>} */
    this.followed = new Map();
    /** @type {Set<(state: StreamState) => void>} */
    this.listeners = new Set();
    /** @type {StreamState} */
    this.state = "connecting";
    /** @type {"ok" | "away" | "unknown"} */
    this.database = "unknown";
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {string | null} */
    this.epoch = null;
    this.attempts = 0;
    this.attempt = 0;
    this.heard = Date.now();
    this.ahead = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.watch = setInterval(() => this.#look(), LOOK_EVERY);
    this.awake = () => (this.state === "waiting" ? this.#connect() : this.#look());
    for (const [target, name] of wakeEvents()) target.addEventListener(name, this.awake);
    this.#connect();
  }

  subscribe(channel, handlers) {
    const known = this.followed.get(channel);
    const one = known ?? { handlers: new Set(), seq: null, epoch: null, asked: false };
    one.handlers.add(handlers);
    this.followed.set(channel, one);
    one.asked = known !== undefined;
    if (this.state === "open") this.#send({ op: "subscribe", channels: [{ channel }] });
    return () => this.#unsubscribe(channel, handlers);
  }

  onState(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  marketTime() {
    return Date.now() + this.ahead;
  }

  close() {
    clearInterval(this.watch);
    clearTimeout(this.timer);
    for (const [target, name] of wakeEvents()) target.removeEventListener(name, this.awake);
    this.#leave();
    this.#say("closed");
  }

  #unsubscribe(channel, handlers) {
    const one = this.followed.get(channel);
    if (one === undefined || !one.handlers.delete(handlers) || one.handlers.size > 0) return;
    this.followed.delete(channel);
    if (this.state === "open") this.#send({ op: "unsubscribe", channels: [channel] });
  }

  async #connect() {
    this.#leave();
    this.#say("connecting");
    this.heard = Date.now();
    const attempt = ++this.attempt;
    const address = new URL(this.url);
    try {
      const shown = this.ticket === null ? null : await this.ticket();
      if (shown !== null) address.searchParams.set("ticket", shown);
    } catch {
      if (attempt === this.attempt) this.#wait();
      return;
    }
    if (attempt !== this.attempt || this.state === "closed") return;
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.onmessage = (event) => this.#take(socket, event.data);
    socket.onclose = () => this.socket === socket && this.#wait();
  }

  /** Try again after a pause that grows, and differs from page to page. */
  #wait() {
    if (this.state === "closed") return;
    this.#leave();
    this.#say("waiting");
    const pause = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.attempts++);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2));
  }

  #leave() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    if (socket !== null) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  /** Connect anew after a silence. A frozen page has no timers: it looks as soon as it is awake. */
  #look() {
    const connected = this.state === "open" || this.state === "connecting";
    if (connected && Date.now() - this.heard > SILENCE) this.#connect();
  }

  #take(socket, text) {
    if (this.socket !== socket) return;
    this.heard = Date.now();
    const frame = JSON.parse(text);
    switch (frame.type) {
      case "hello":
        return this.#greeted(frame);
      case "heartbeat":
        this.ahead = frame.market_time - Date.now();
        this.database = frame.database;
        return this.#say(this.state);
      default:
        return this.#of(frame);
    }
  }

  #greeted(frame) {
    this.attempts = 0;
    this.epoch = frame.epoch;
    this.ahead = frame.market_time - Date.now();
    const channels = [...this.followed].map(([channel, one]) =>
      one.seq === null ? { channel } : { channel, epoch: one.epoch, after: one.seq },
    );
    this.#say("open");
    if (channels.length > 0) this.#send({ op: "subscribe", channels });
  }

  #of(frame) {
    const one = this.followed.get(frame.channel);
    if (one === undefined) {
      if (frame.type === "error") console.warn(`stream: ${frame.detail}`);
      return;
    }
    if (frame.type === "error") return tell(one, "error", frame.detail);
    const before = one.seq;
    if (frame.type === "delta" && frame.seq !== before + 1) {
      // a frame is missing: begin anew, once
      if (!one.asked) this.#send({ op: "subscribe", channels: [{ channel: frame.channel }] });
      one.asked = true;
      return;
    }
    one.seq = frame.seq;
    one.epoch = this.epoch;
    if (frame.type === "delta") tell(one, "delta", frame.rows);
    else if (frame.type === "changed") tell(one, "changed", frame.spans);
    else if (frame.type === "snapshot" || frame.type === "conflated") this.#whole(frame, one, before);
  }

  /** All rows came. After a break that could not be bridged the past before them may have changed too. */
  #whole(frame, one, before) {
    tell(one, "snapshot", frame.rows);
    const bridged = before === null || one.asked || frame.type === "conflated";
    one.asked = false;
    if (bridged || !frame.channel.startsWith("bars/")) return;
    const first = frame.rows.length > 0 ? frame.rows[0].open_time : Number.MAX_SAFE_INTEGER;
    tell(one, "changed", [[0, first]]);
  }

  #send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #say(state) {
    this.state = state;
    for (const listener of [...this.listeners]) listener(state);
  }
}

/**
 * @param {Followed} one
 * @param {keyof Handlers} what
 * @param {any} value
 */
function tell(one, what, value) {
  for (const handlers of [...one.handlers]) {
    try {
      handlers[what]?.(value);
    } catch (error) {
      // one handler's fault is not the others'
      console.error(error);
    }
  }
}

/** What tells a page that it is awake again, or has a network again. */
function wakeEvents() {
  const page = globalThis.document;
  if (page === undefined) return [];
  return [
    [page, "visibilitychange"], [page, "resume"], [globalThis, "pageshow"], [globalThis, "online"],
    [globalThis, "focus"],
  ];
}
