"""The daily partitions of ``trading.scan_history``: made on demand, counted and dropped as a whole."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.short_locks import drop_between_readers

_LOCK_SPACE = 0x7363616E  # "scan"
_EPOCH = date(1970, 1, 1)
_PARTITIONS = """
SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
WHERE h.inhparent = 'trading.scan_history'::regclass ORDER BY 1
"""
#: Counts of one day; the conditions of a set are at most 16.
_SUMMARY = f"""
INSERT INTO trading.scan_days
SELECT %(day)s, h.instrument_id, h.condition_set, h.scans, h.takes, h.near_misses, h.unjudged, c.strategy,
       h.failures[1:cardinality(c.names)], h.near[1:cardinality(c.names)]
FROM (
    SELECT instrument_id, condition_set, count(*) AS scans, count(*) FILTER (WHERE decision = 'TAKE') AS takes,
           count(*) FILTER (WHERE decision = 'NEAR_MISS') AS near_misses,
           count(*) FILTER (WHERE failed IS NULL) AS unjudged,
           ARRAY[{", ".join(f"count(*) FILTER (WHERE failed >> {place} & 1 = 1)" for place in range(16))}] AS failures,
           ARRAY[{", ".join(f"count(*) FILTER (WHERE failed = {1 << place})" for place in range(16))}] AS near
    FROM trading.scan_history WHERE signal_ts >= %(start)s AND signal_ts < %(end)s
    GROUP BY 1, 2
) h
JOIN trading.scan_conditions c USING (condition_set)
ON CONFLICT (day, instrument_id, condition_set) DO UPDATE
SET scans = excluded.scans, takes = excluded.takes, near_misses = excluded.near_misses, unjudged = excluded.unjudged,
    failures = excluded.failures, near = excluded.near
"""  # noqa: S608  (numbers only)


def days(connection: psycopg.Connection[Any]) -> list[date]:
    """Days (UTC) with a partition, oldest first."""
    names = [name for (name,) in connection.execute(_PARTITIONS).fetchall()]
    return [datetime.strptime(name, "scan_history_%Y_%m_%d").replace(tzinfo=UTC).date() for name in names]


def ensure(connection: psycopg.Connection[Any], day: date) -> None:
    """Make the partition of a day as a separate table and attach it, without blocking readers and writers."""
    name = f"scan_history_{day:%Y_%m_%d}"
    if _exists(connection, name):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, (day - _EPOCH).days])
    if _exists(connection, name):
        return
    table = sql.Identifier("trading", name)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE trading.scan_history INCLUDING ALL)").format(table))
    bounds = [f"{day} 00:00:00+00", f"{day + timedelta(days=1)} 00:00:00+00"]
    connection.execute(
        sql.SQL("ALTER TABLE trading.scan_history ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, *map(sql.Literal, bounds)
        )
    )


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    row = connection.execute("SELECT to_regclass('trading.' || %s) IS NOT NULL", [name]).fetchone()
    return row is not None and bool(row[0])


def summarise(connection: psycopg.Connection[Any], day: date) -> None:
    """Count the scans of a day into ``trading.scan_days``."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    connection.execute(_SUMMARY, {"day": day, "start": start, "end": start + timedelta(days=1)})


def drop(connections: Connections, day: date) -> None:
    """Count a day and drop its rows, in one transaction. Raises StoreError when readers hold a lock for too long."""
    drop_between_readers(connections, partial(_drop, day=day), f"scans of {day}")


def _drop(connection: psycopg.Connection[Any], day: date) -> None:
    summarise(connection, day)
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("trading", f"scan_history_{day:%Y_%m_%d}")))
