"""Replacing a partition by another table, and locking writers out until that is committed.

Readers never wait for slow work: it is done before, without locks, or afterwards on a detached table. DETACH needs an
exclusive lock on the parent table for a moment. It is tried with a short lock timeout and repeated, so that no queue
forms behind it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import bars
from crypto_pipeline.store.partitions.span import Span

P = ParamSpec("P")
T = TypeVar("T")

#: Suffixes of tables that are detached or not attached yet.
LEAVING, COMING = "__leaving", "__coming"
#: Time to wait for the locks, at each attempt (ms) and in total (s).
_PATIENCE_MS = 100
_ALTOGETHER = 120.0

_LOCK_CELLS = """
SELECT instrument_id FROM market.coverage
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s
  AND (%(only)s::int[] IS NULL OR instrument_id = ANY(%(only)s::int[]))
ORDER BY instrument_id, day FOR UPDATE
"""


def retry_until_unlocked(
    connections: Connections,
    span: Span,
    work: Callable[Concatenate[psycopg.Connection[Any], P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run ``work(connection, …)`` in a transaction, repeated until it gets its locks at once. Raises StoreError."""
    until, wait = time.monotonic() + _ALTOGETHER, 0.05
    while True:
        try:
            return connections.run(work, *args, **kwargs)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > until:
                raise StoreError(
                    f"{span} could not leave its table within {_ALTOGETHER:.0f} s because of long readers: "
                    "it is tried again with the next run"
                ) from None
            time.sleep(wait * (0.5 + random.random()))
            wait = min(2.0, wait * 1.5)


def lock_out_writers(connection: psycopg.Connection[Any], span: Span, only: Sequence[int] | None = None) -> None:
    """Lock writers out of the span (or of the cells of ``only``, and of its table) until the transaction ends.

    Readers continue. The locks are taken in the order of writers.
    """
    if span.timeframe is not None:
        if span.partitioned:
            bars.lock(connection, span.timeframe, span.month_number)
        connection.execute(_LOCK_CELLS, span.values() | {"only": None if only is None else list(only)})
    if bars.exists(connection, span.table):
        _short_lock_timeout(connection)
        table = bars.identifier(span.table)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))


def replace_partition(connection: psycopg.Connection[Any], span: Span, successor: str | None) -> None:
    """Detach the span's partition, rename it, and attach ``successor`` in its place.

    Call it last in a transaction, because no other session can use the parent until its end. Raises LockNotAvailable if
    another session does not release the parent in time.
    """
    if not bars.exists(connection, span.table):
        return
    parent, old = bars.identifier(span.parent), bars.identifier(span.table)
    _short_lock_timeout(connection)
    connection.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(parent, old))
    leaving = f"{span.table}{LEAVING}_{time.time_ns() // 1_000_000:x}"
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(old, sql.Identifier(leaving)))
    if successor is not None:
        new = bars.identifier(successor)
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, sql.Identifier(span.table)))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                parent, old, sql.Literal(span.start.isoformat()), sql.Literal(span.end.isoformat())
            )
        )


def _short_lock_timeout(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")


def drop_leftovers(connections: Connections) -> int:
    """Drop tables that were detached or never attached, one transaction each; return how many."""
    query = """
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = 'market'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
          AND (c.relname LIKE 'ohlc\\_%%' OR c.relname LIKE 'trades\\_%%')
          AND (strpos(c.relname, %s) > 0 OR strpos(c.relname, %s) > 0)
    """
    names = connections.run(lambda connection: connection.execute(query, [LEAVING, COMING]).fetchall())
    for (name,) in names:
        connections.run(_drop, name)
    return len(names)


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(bars.identifier(name)))
