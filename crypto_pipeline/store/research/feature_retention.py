"""Retention of features: whole months are removed by dropping their partitions, together with their cells."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.short_locks import drop_between_readers

_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'research.ml_features'::regclass ORDER BY c.relname
"""


def months(connection: psycopg.Connection[Any]) -> list[date]:
    """First days of the months that have a partition, oldest first."""
    names = [name for (name,) in connection.execute(_PARTITIONS).fetchall()]
    return [datetime.strptime(name, "ml_features_%Y_%m").replace(tzinfo=UTC).date() for name in names]


def forget(connections: Connections, before: date) -> list[date]:
    """Drop the features of all months that ended before the day ``before`` (UTC); return the months, oldest first.

    Each month is a separate transaction. Raises StoreError when readers hold a lock for too long.
    """
    gone = []
    for month in connections.run(months):
        following = (month + timedelta(days=32)).replace(day=1)
        if following > before:
            continue
        drop_between_readers(
            connections, partial(_drop, month=month, following=following), f"features of {month:%Y-%m}"
        )
        gone.append(month)
    return gone


def _drop(connection: psycopg.Connection[Any], month: date, following: date) -> None:
    # in the lock order of writers: cells, then rows
    connection.execute("DELETE FROM research.feature_cells WHERE day >= %s AND day < %s", [month, following])
    table = sql.Identifier("research", f"ml_features_{month:%Y_%m}")
    connection.execute(sql.SQL("DROP TABLE {}").format(table))
