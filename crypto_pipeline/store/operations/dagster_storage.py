"""Queries on Dagster's own tables that its interface lacks: needed and surplus runs, and rows that are never
deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg

from crypto_pipeline.store.database.connect import MissingDatabaseError, connect, plain_url

# Deleting a run deletes its events, and a partition's state is its newest event, so runs with such events stay.
_NEEDED = """
SELECT DISTINCT run_id FROM event_logs WHERE id IN (
    SELECT max(id) FROM event_logs
    WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION') GROUP BY asset_key, partition)
"""

# Jobs that run every few minutes would fill the storage within the days that other runs are kept.
_SURPLUS = """
SELECT run_id FROM (
    SELECT run_id, row_number() OVER (PARTITION BY pipeline_name ORDER BY id DESC) AS place
    FROM runs WHERE status = 'SUCCESS') AS r
WHERE place > %s ORDER BY place DESC
"""

# `delete_run` leaves these behind, one row per check and run.
_CHECKS = """
DELETE FROM asset_check_executions c
WHERE create_timestamp < %s AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = c.run_id) AND id NOT IN (
    SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, partition)
"""

# Sensors and schedules report some without a run; no run is deleted with them.
_RUNLESS = """
WITH gone AS (
    DELETE FROM event_logs e
    WHERE run_id = '' AND partition IS NULL AND timestamp < %s AND id NOT IN (
        SELECT max(id) FROM event_logs WHERE asset_key IS NOT NULL
        GROUP BY dagster_event_type, asset_key, partition)
    RETURNING id
), tags AS (DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM gone))
SELECT count(*) FROM gone
"""

_SIZES = """
SELECT relname AS "table", greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND nspname = 'public' ORDER BY bytes DESC
"""


def needed_runs(url: str) -> set[str]:
    """Ids of runs that hold the newest materialization or observation of an asset's partition."""
    with connect(plain_url(url)) as connection:
        return {run_id for (run_id,) in connection.execute(_NEEDED)}


def surplus_runs(url: str, per_job: int) -> list[str]:
    """Ids of successful runs beyond the newest ``per_job`` of their job, oldest first."""
    with connect(plain_url(url)) as connection:
        return [run_id for (run_id,) in connection.execute(_SURPLUS, [per_job])]


def prune_checks(url: str, now: datetime) -> int:
    """Delete evaluations of checks whose run was deleted, except the newest of each check; return how many.

    Evaluations of the last hour stay, because a run may be stored after its first evaluation.
    """
    with connect(plain_url(url)) as connection:
        # Dagster stores these times in UTC without a time zone
        before = (now - timedelta(hours=1)).astimezone(UTC).replace(tzinfo=None)
        return connection.execute(_CHECKS, [before]).rowcount


def prune_runless(url: str, before: datetime) -> int:
    """Delete events of assets without partition that no run reported, older than ``before``; return how many.

    The newest of each asset and kind stays: it is the asset's state.
    """
    with connect(plain_url(url)) as connection:
        row = connection.execute(_RUNLESS, [before.astimezone(UTC).replace(tzinfo=None)]).fetchone()
        return 0 if row is None else int(row[0])


def sizes(url: str) -> pl.DataFrame:
    """``table``, ``rows`` (estimated) and ``bytes``, largest first. Empty if Dagster has not made its tables yet."""
    with connect(plain_url(url)) as connection:
        rows = connection.execute(_SIZES).fetchall()
    return pl.DataFrame(rows, schema={"table": pl.String, "rows": pl.Int64, "bytes": pl.Int64}, orient="row")


def is_there(url: str) -> bool:
    """Whether the database at ``url`` has Dagster's tables."""
    try:
        with connect(plain_url(url)) as connection:
            connection.execute("SELECT FROM asset_check_executions LIMIT 1")
    except (MissingDatabaseError, psycopg.errors.UndefinedTable):
        return False
    return True
