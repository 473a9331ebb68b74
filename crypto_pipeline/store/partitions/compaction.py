"""Sorting of closed months by their key: live bars arrive minute by minute, but readers read single instruments.

CLUSTER does the same but blocks all readers until it is done. Here a sorted copy is built as a separate table, and
replaces the month at once if no bar has changed meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import bars, rebuild, swap
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.span import ChangedError, Span
from crypto_pipeline.store.partitions.vacuum import vacuum

#: Time after a month's end, in which repairs of its last days may still arrive.
_SETTLED = timedelta(days=2)
#: The comment on a month's table that is sorted by its key.
DONE = "compacted"

_MONTHS = """
SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
WHERE h.inhparent = %s::regclass ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Compacted:
    """Result for one month: bytes with its index before and after, seconds in all, seconds that its writers waited."""

    span: Span
    rows: int
    bytes_before: int
    bytes_after: int
    seconds: float
    switch_seconds: float


def closed_months(connection: psycopg.Connection[Any], timeframe: Timeframe, now: datetime) -> list[Span]:
    """Months that ended some time ago and are not sorted yet."""
    rows = connection.execute(_MONTHS, [f"market.ohlc_{timeframe}"]).fetchall()
    found = []
    for name, comment in rows:
        year, month = map(int, name.removeprefix(f"ohlc_{timeframe}_").split("_"))
        span = Span.month(timeframe, (year - 1970) * 12 + month - 1)
        if comment != DONE and span.end <= now - _SETTLED:
            found.append(span)
    return found


def compact(connections: Connections, span: Span) -> Compacted:
    """Sort one month. Raises ChangedError, without a change, if its bars change meanwhile."""
    clock = time.monotonic()
    found = connections.run(archive_spans.fingerprint, span)
    before = connections.run(_size, span)
    connections.run(_build, span)
    switched = swap.retry_until_unlocked(connections, span, _swap, span, found.text)
    swap.drop_leftovers(connections)
    # gathers statistics, and marks pages as visible to all, so that index scans need not read the table
    vacuum(connections, [bars.identifier(span.table)], "ANALYZE")
    after = connections.run(_size, span)
    return Compacted(span, found.hot_rows, before, after, time.monotonic() - clock, switched)


def _build(connection: psycopg.Connection[Any], span: Span) -> None:
    assert span.timeframe is not None, "only bars are compacted"
    old, new = bars.identifier(span.table), rebuild.begin(connection, span)
    connection.execute(
        sql.SQL("INSERT INTO {} SELECT * FROM {} ORDER BY instrument_id, timeframe, open_time").format(new, old)
    )
    rebuild.finish(connection, span)
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(new, sql.Literal(DONE)))


def _swap(connection: psycopg.Connection[Any], span: Span, made_from: str) -> float:
    swap.lock_out_writers(connection, span)
    began = time.monotonic()
    if archive_spans.fingerprint(connection, span).text != made_from:
        raise ChangedError(f"{span}: bars changed while the month was sorted; the next run does it")
    rebuild.take_place(connection, span)
    return time.monotonic() - began


def _size(connection: psycopg.Connection[Any], span: Span) -> int:
    row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [f"market.{span.table}"]).fetchone()
    assert row is not None
    return int(row[0])
