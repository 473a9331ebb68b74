"""The exam of under_fire.py with instruments that the venue does not have."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
from dagster import DagsterRunStatus, RunsFilter
from fire_exam import Exam

#: Mistyped; of another venue; of another venue and kind; delisted before what is collected begins.
STRANGERS = ("BTC-USTD", "XBT-USD", "BTC-USD-PERP", "EOS-USDT")
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('market', 'ops', 'research') AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
"""
_MISSING_OF_OTHERS = """
SELECT coalesce(sum(expected - present - explained), 0)::int FROM market.coverage JOIN market.instruments i
USING (instrument_id) WHERE i.symbol <> ALL(%s) AND expected > present + explained AND day < current_date
"""
_PARTITIONS = """{ assetNodes { assetKey { path } partitionStats { numFailed } } }"""
_CHECKS = """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name
  executionForLatestMaterialization { status evaluation { description metadataEntries { __typename label
  ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString }
  ... on TableMetadataEntry { table { records } } } } } } } } } }"""


def instruments(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "4", "--days", "3", on=given.on) as exam:
        exam.until(lambda: exam.house.status()["complete"], 300, "complete")
        before, start = picture(exam), datetime.now(UTC)
        added = []
        for name in STRANGERS:
            asked = exam.house.command("instruments", "add", name)
            exam.say(f"add {name}: {asked.returncode}, {(asked.stdout + asked.stderr).strip()}")
            forced = asked
            if asked.returncode:
                forced = exam.house.command("instruments", "add", "--force", name)
                exam.say(f"add --force {name}: {forced.returncode}, {(forced.stdout + forced.stderr).strip()}")
            added += [name] if 0 in (asked.returncode, forced.returncode) else []
        for _ in range(given.minutes):
            time.sleep(60)
            watch_strangers(exam, before)
        removed = exam.house.command("instruments", "remove", *added)
        exam.say(f"remove: {removed.returncode}, {(removed.stdout + removed.stderr).strip()}")
        took = exam.until(lambda: not remains(exam), 400, "nothing is left")
        exam.say(f"nothing was left {took:.0f} s after the removal")
        exam.want(took < 120, f"it took {took:.0f} s until nothing was left")
        watch_strangers(exam, before)
        with exam.dagster() as instance:
            failed = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE], created_after=start))
        exam.want(not failed, f"runs failed: {[(run.job_name, run.run_id) for run in failed]}")
        return exam.tell(f"instruments, {given.minutes} min")


def picture(exam: Exam) -> dict[str, Any]:
    """Failures: checks, asset checks, failed partitions, open alerts."""
    nodes = exam.graphql(_CHECKS)["assetNodes"]
    latest = {
        f"{node['assetKey']['path'][-1]}:{check['name']}": check["executionForLatestMaterialization"]
        for node in nodes
        for check in node["assetChecksOrError"].get("checks", [])
    }
    return {
        "checks": sorted(f"{row['check']} {row['timeframe']}" for row in exam.house.status()["checks"]["failing"]),
        "asset checks": sorted(name for name, one in latest.items() if one and "FAILED" in one["status"]),
        "partitions": {
            node["assetKey"]["path"][-1]: node["partitionStats"]["numFailed"]
            for node in exam.graphql(_PARTITIONS)["assetNodes"]
            if node["partitionStats"] and node["partitionStats"]["numFailed"]
        },
        "alerts": sorted(exam.alerts()),
    }


def watch_strangers(exam: Exam, before: dict[str, Any]) -> None:
    now, status = picture(exam), exam.house.status()
    exam.say(f"healthy {status['healthy']}, complete {status['complete']} {status['incomplete_because']}, red: {now}")
    exam.want(status["healthy"], f"not healthy: {status['processes']}")
    for what, red in now.items():
        # that their own bars are missing may be said, until it is explained
        others = [name for name in red if name not in before[what] and "accounted_for" not in name]
        exam.want(not others, f"{what} turned red: {others}")
    with psycopg.connect(exam.url) as connection:
        row = connection.execute(_MISSING_OF_OTHERS, [list(STRANGERS)]).fetchone()
    exam.want(row == (0,), f"bars of others are missing: {row}")


def remains(exam: Exam) -> dict[str, int]:
    """Rows, and texts of status and of Dagster's checks, that name an unlisted instrument, except resolved alerts."""
    found: dict[str, int] = {}
    with psycopg.connect(exam.url) as connection:
        for (name,) in connection.execute(_TABLES).fetchall():
            only = "AND resolved_at IS NULL" if name == "ops.alerts" else ""
            query = f"SELECT count(*) FROM {name} t WHERE t::text ~ %s {only}"
            row = connection.execute(query, ["|".join(STRANGERS)]).fetchone()  # type: ignore[arg-type]
            if row and row[0]:
                found[name] = row[0]
    texts = {"status": exam.house.command("status").stdout, "Dagster's checks": json.dumps(exam.graphql(_CHECKS))}
    for what, text in texts.items():
        if count := sum(text.count(name) for name in STRANGERS):
            found[what] = count
    return found
