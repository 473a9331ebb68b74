// Requests to the HTTP interface of the server that the page came from. The token, where one is set, is typed by a
// person, kept in this tab's sessionStorage only, and sent as a header: it never stands in an address.

const KEPT = "token";
/** How often a request is sent again that came too soon after others. */
const MOST_ATTEMPTS = 8;
/** The server's address, also below a path of a proxy. */
export const ROOT = new URL("../../", import.meta.url);

/** An answer that is none: the status and the server's sentence. */
export class Refused extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** @type {(wrong: boolean) => Promise<void>} */
let askForToken = () => Promise.reject(new Refused(401, "this server asks for a token"));
/** @type {Promise<void> | null} */
let asking = null;

/** @param {(wrong: boolean) => Promise<void>} ask has a person type the token; resolves when `keepToken` was called */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(KEPT, token);
}

/** @returns {string | null} */
export function token() {
  return sessionStorage.getItem(KEPT);
}

/**
 * The JSON of an address; asks for the token where the server wants one.
 * @param {string} path such as `bars/BTC-USDT`
 * @param {Record<string, string | number | boolean | null | undefined>} [query] null and undefined are left out
 * @param {{signal?: AbortSignal}} [more]
 * @returns {Promise<any>}
 */
export async function get(path, query = {}, more = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, String(value));
  }
  return await (await request(url, { signal: more.signal })).json();
}

/**
 * Sends JSON, and returns the JSON that is answered.
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function post(path, body) {
  const given = body === undefined ? {} : { body: JSON.stringify(body) };
  const answer = await request(new URL(path, ROOT), { method: "POST", ...given }, { "Content-Type": "application/json" });
  return await answer.json();
}

/**
 * A response of status 200 to 299; Refused for any other. Every status that a health page has counts as an answer.
 * @param {URL} url
 * @param {RequestInit} how
 * @param {Record<string, string>} [headers]
 * @returns {Promise<Response>}
 */
async function request(url, how, headers = {}) {
  for (let attempt = 0; ; attempt++) {
    const used = token();
    const given = used === null ? headers : { ...headers, Authorization: `Bearer ${used}` };
    const accept = { Accept: "application/json" };
    const answer = await fetch(url, { ...how, headers: { ...accept, ...given }, cache: "no-store", credentials: "same-origin", redirect: "error" });
    if (answer.ok) return answer;
    if (answer.status === 429 && attempt < MOST_ATTEMPTS) {
      await pause(1000 * Number(answer.headers.get("Retry-After") ?? 1), how.signal);
      continue;
    }
    if (answer.status !== 401) throw new Refused(answer.status, await said(answer));
    // another request may have brought the right one meanwhile
    if (token() === used) {
      asking ??= askForToken(used !== null).finally(() => (asking = null));
      await asking;
    }
  }
}

/** Wait at least so many milliseconds, and not as long as other requests do. @param {number} least @param {AbortSignal | null} [signal] */
async function pause(least, signal) {
  await new Promise((resolve) => setTimeout(resolve, least * (1 + Math.random())));
  signal?.throwIfAborted();
}

/** @param {Response} answer */
async function said(answer) {
  try {
    const body = await answer.json();
    return String(body.detail ?? body.title ?? answer.statusText);
  } catch {
    return answer.statusText || `status ${answer.status}`;
  }
}

/** @type {{get: typeof get, post: typeof post, root: URL, token: typeof token}} what parts of the page are given */
export const api = { get, post, root: ROOT, token };
