"""Retention of features: whole months are removed by dropping their partitions, together with their cells."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import tenacity
from psycopg import sql

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'research.ml_features'::regclass ORDER BY c.relname
"""
#: Seconds to wait for readers and writers of a month per attempt, so that others do not queue behind; and in total.
_MOMENT, _PATIENCE = "200ms", 20.0


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
        try:
            tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(psycopg.errors.LockNotAvailable),
                stop=tenacity.stop_after_delay(_PATIENCE),
                wait=tenacity.wait_exponential(multiplier=0.1, max=5.0) + tenacity.wait_random(0, 1.0),
                reraise=True,
            )(connections.run, _drop, month, following)
        except psycopg.errors.LockNotAvailable:
            raise StoreError(
                f"features of {month:%Y-%m} could not be dropped within {_PATIENCE:.0f} s because of long readers: "
                "it is tried again with the next run"
            ) from None
        gone.append(month)
    return gone


def _drop(connection: psycopg.Connection[Any], month: date, following: date) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [_MOMENT])
    # in the lock order of writers: cells, then rows
    connection.execute("DELETE FROM research.feature_cells WHERE day >= %s AND day < %s", [month, following])
    table = sql.Identifier("research", f"ml_features_{month:%Y_%m}")
    connection.execute(sql.SQL("DROP TABLE {}").format(table))
