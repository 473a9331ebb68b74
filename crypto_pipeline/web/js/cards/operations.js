// How the deployment is: health, open alerts, ingest, holes, schedules with links into Dagster.

import { keyed, make, setText } from "../dom.js";
import { duration, size, stamp, whole } from "../format.js";
import { addCard, figures, nothing, reading } from "./card.js";
import { drawHoles } from "./holes.js";
import { drawIngest } from "./ingest.js";
import { dagsterLink, showTable } from "./table.js";

const EVERY = 10;
const MOST_CHECKS = 6;
const WORDS = /** @type {Record<string, string>} */ ({ ok: "good", degraded: "warn", critical: "bad", unknown: "warn" });

/** @param {(status: string) => void} told of the overall health @returns each reads a card now */
export function addOperationCards(told) {
  /** @type {Promise<any> | null} */
  let details = null;
  // two cards show parts of the same answer
  const read = () => {
    details ??= reading("health/details")().finally(() => setTimeout(() => (details = null), 1000));
    return details;
  };
  /** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
  const health = (body, found, aside) => {
    told(found.status);
    drawHealth(body, found, aside);
  };
  return {
    health: addCard({ id: "health", title: "Health", every: EVERY, read, draw: health }),
    alerts: addCard({ id: "alerts", title: "Open alerts", every: EVERY, read: reading("alerts"), draw: drawAlerts }),
    ingest: addCard({ id: "ingest", title: "Ingest", every: EVERY, read, draw: drawIngest }),
    holes: addCard({ id: "holes", title: "Holes", every: 30, read: reading("gaps", { limit: 5000 }), draw: drawHoles }),
    schedules: addCard({ id: "schedules", title: "Schedules", every: 30, read: reading("schedules"), draw: drawSchedules }),
  };
}

/** @param {HTMLElement} aside @param {string} words @param {string} tone */
function badge(aside, words, tone) {
  aside.className = `badge ${tone}`;
  setText(aside, words);
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function drawHealth(body, found, aside) {
  badge(aside, found.status, WORDS[found.status] ?? "");
  const checks = found.checks ?? [];
  const bad = checks.filter((/** @type {any} */ one) => one.status === "bad");
  const running = (found.programs ?? []).filter((/** @type {any} */ one) => one.state === "RUNNING");
  figures(body, [
    ["Checks that fail", whole(bad.length), bad.length > 0 ? "bad" : "good"],
    ["Say nothing yet", whole(checks.length - bad.length)],
    ["Programs running", `${running.length} of ${(found.programs ?? []).length}`],
    ["Database", found.database === null ? "away" : size(found.database.size_bytes), found.database === null ? "bad" : ""],
    ["Disk free", found.disk === null ? "–" : size(found.disk.free_bytes)],
    ["Memory free", found.machine === null ? "–" : size(found.machine.memory_available_bytes)],
  ]);
  list(body, bad.slice(0, MOST_CHECKS), (one) => `${one.check} ${one.subject ?? ""}`, (one) => [
    make("strong", { class: "bad" }, `${one.check}${one.subject ? ` of ${one.subject}` : ""}`), ` ${one.summary}`,
    one.checked_at === null ? "" : ` (checked ${stamp(one.checked_at)})`,
  ]);
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function drawAlerts(body, found, aside) {
  const groups = found.groups;
  badge(aside, groups.length === 0 ? "none" : String(groups.length), groups.length === 0 ? "good" : "bad");
  if (groups.length === 0) {
    nothing(body, "No alert is open.");
    return;
  }
  if (body.querySelector("ul") === null) body.replaceChildren();
  list(body, groups, (group) => group.cause, (group) => [
    make("strong", { class: group.severity === "warning" ? "warn" : "bad" }, group.severity), ` ${group.cause}`,
    make("div", { class: "muted" }, `since ${stamp(group.since)}, ids ${group.alerts.map((/** @type {any} */ one) => one.id).join(", ")}${group.fix ? `: ${group.fix}` : ""}`),
  ]);
}

/** @param {HTMLElement} body @param {any} found @param {HTMLElement} aside */
function drawSchedules(body, found, aside) {
  const running = (found.runs ?? []).reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.runs, 0);
  aside.replaceChildren(
    dagsterLink(`${found.ui}/automation`, "automation"), " ", dagsterLink(`${found.ui}/runs`, `${running} runs at work`), " ",
    dagsterLink(`${found.ui}/asset-groups`, "lineage"),
  );
  const rows = [...(found.schedules ?? []), ...(found.sensors ?? [])];
  if (rows.length === 0) {
    nothing(body, `Dagster says nothing: ${found.troubles.schedules ?? "nothing is scheduled"}.`);
    return;
  }
  if (body.querySelector("table") === null) body.replaceChildren();
  rows.sort((a, b) => rank(a) - rank(b) || Date.parse(a.next_tick ?? "2999") - Date.parse(b.next_tick ?? "2999") || a.name.localeCompare(b.name));
  showTable(body, {
    label: "Schedules and sensors",
    keyOf: (row) => row.name,
    columns: [
      { name: "Name", cell: (row) => dagsterLink(row.url, row.name) },
      { name: "When", kind: "left", cell: (row) => row.cron ?? row.kind },
      { name: "Last", cell: (row) => ago(row.last_tick) },
      { name: "Result", kind: "left", cell: (row) => (row.running ? row.last_status ?? "–" : "switched off"), tone: (row) => (rank(row) === 0 ? "bad" : row.running ? "" : "muted") },
      { name: "Next", cell: (row) => (row.next_tick === null ? "–" : `in ${duration((Date.parse(row.next_tick) - Date.now()) / 1000)}`) },
    ],
  }, rows);
}

/** Failures first, then what runs. @param {any} row */
function rank(row) {
  return row.running && row.last_status === "failure" ? 0 : row.running ? 1 : 2;
}

/** @param {string | null} moment by the machine's clock */
function ago(moment) {
  return moment === null ? "–" : `${duration((Date.now() - Date.parse(moment)) / 1000)} ago`;
}

/**
 * A list whose entries are kept while their text is the same.
 * @param {HTMLElement} body @param {any[]} rows @param {(row: any) => string} keyOf @param {(row: any) => (Node | string)[]} words
 */
function list(body, rows, keyOf, words) {
  let found = body.querySelector("ul");
  if (found === null) {
    found = /** @type {HTMLUListElement} */ (make("ul", { class: "list" }));
    body.append(found);
  }
  keyed(found, rows, keyOf, () => make("li"), (element, row) => {
    const made = make("li", {}, ...words(row));
    if (element.textContent !== made.textContent) element.replaceChildren(...made.childNodes);
  });
}
