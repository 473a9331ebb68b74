"""The moment in which rows leave a table: their files become the truth of their span in the same transaction.

Readers are never made to wait for work: what is slow happens before, without locks, or afterwards to a table that
nobody sees any more. A partition leaves by DETACH, for which everyone else must be out of its parent for an instant;
that is tried again and again with a short patience, so that no queue forms behind it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.store import archive_spans, partitions
from crypto_pipeline.store.archive_spans import ChangedError, Span
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.frames import copy_rows
from crypto_pipeline.store.pool import Connections

P = ParamSpec("P")
T = TypeVar("T")

#: A table on its way out or in has one of these at the end of its name, and no parent.
LEAVING, COMING = "__leaving", "__coming"
#: How long the instant without others is waited for, each time and altogether.
_PATIENCE_MS = 100
_ALTOGETHER = 120.0

_LOCK_CELLS = """
SELECT instrument_id FROM market.coverage
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s
ORDER BY instrument_id, day FOR UPDATE
"""
# The open time from which on an instrument's newest bars stay, whatever their age.
_STAYING = """
SELECT u.i, (
    SELECT b.open_time FROM market.ohlc_data b
    WHERE b.instrument_id = u.i AND b.timeframe = %(timeframe)s ORDER BY b.open_time DESC OFFSET %(skip)s LIMIT 1
)
FROM unnest(%(instruments)s::int[]) AS u (i)
"""
_STAYING_ROWS = """
SELECT o.instrument_id, (o.open_time AT TIME ZONE 'UTC')::date AS day, count(*)
FROM unnest(%(ids)s::int[], %(since)s::timestamptz[]) AS u (i, since)
JOIN market.ohlc_data o ON o.instrument_id = u.i
WHERE o.timeframe = %(timeframe)s AND o.open_time >= greatest(u.since, %(start)s) AND o.open_time < %(end)s
GROUP BY 1, 2
"""
_COPY_STAYING = """
INSERT INTO {new}
SELECT o.* FROM unnest(%(ids)s::int[], %(since)s::timestamptz[]) AS u (i, since)
JOIN {old} o ON o.instrument_id = u.i
WHERE o.timeframe = %(timeframe)s AND o.open_time >= greatest(u.since, %(start)s) AND o.open_time < %(end)s
"""
_DELETE = """
DELETE FROM market.{table} o USING unnest(%(instruments)s::int[], %(until_open)s::timestamptz[]) AS u (i, until_open)
WHERE o.instrument_id = u.i AND o.timeframe = %(timeframe)s
  AND o.open_time >= %(start)s AND o.open_time < least(u.until_open, %(end)s)
"""
_ACCOUNT = """
UPDATE market.coverage c
SET present = f.rows, archived = f.rows - f.staying, updated_at = now(),
    final = c.expected > 0 AND f.rows + c.explained >= c.expected
FROM pg_temp.switched_cells f
WHERE c.instrument_id = f.instrument_id AND c.timeframe = %(timeframe)s AND c.day = f.day
"""
_RETIRE = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE status = 'current' AND kind = ANY(%(kinds)s) AND timeframe = %(timeframe)s
  AND first_open = %(start)s AND end_open = %(end)s
"""
_CURRENT = """
UPDATE market.archive_files SET status = 'current', current_at = clock_timestamp()
WHERE archive_id = ANY(%s) AND status = 'verified'
"""


@dataclass(frozen=True, slots=True)
class Switched:
    """How many rows left, how many stay because they are among the newest, how long writers of the span waited."""

    rows: int
    staying: int
    seconds: float


def switch(
    connections: Connections, span: Span, made_from: str, cells: pl.DataFrame, files: Sequence[int], min_bars: int
) -> Switched:
    """Make verified ``files`` current and take their rows out of the table, all or nothing.

    ``cells`` says how many bars of each cell the files hold. The newest ``min_bars`` of each series stay. Without files
    the rows are dropped for good. Raises ChangedError when rows are other than ``made_from`` says.
    """
    return patiently(connections, span, _switch, span, made_from, cells, list(files), min_bars)


def patiently(
    connections: Connections,
    span: Span,
    work: Callable[Concatenate[psycopg.Connection[Any], P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """``work(connection, …)`` in a transaction, again and again until nobody is in its way for an instant."""
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


def _switch(
    connection: psycopg.Connection[Any],
    span: Span,
    made_from: str,
    cells: pl.DataFrame,
    files: list[int],
    min_bars: int,
) -> Switched:
    hold(connection, span)
    began = time.monotonic()
    found = archive_spans.fingerprint(connection, span)
    if found.text != made_from:
        raise ChangedError(f"{span}: rows changed while they were archived")
    staying = _Staying.of(connection, span, cells, min_bars)
    if span.timeframe is not None:
        _account(connection, span, cells, staying, archived=bool(files))
        _forget_revisions(connection, span, staying)
    if files:
        connection.execute(_RETIRE, span.values() | {"kinds": list(span.kinds)})
        if connection.execute(_CURRENT, [files]).rowcount != len(files):
            raise StoreError(f"{span}: its files are not verified any more; run the archive again")
    if span.partitioned:
        replace_partition(connection, span, _copy_of_staying(connection, span, staying))
    else:
        gone = connection.execute(
            sql.SQL(_DELETE).format(table=sql.Identifier(span.table)), span.values() | staying.limits
        ).rowcount
        if gone + staying.rows != found.hot_rows:
            raise ChangedError(f"{span}: {gone:,} rows were to go where {found.hot_rows:,} were counted")
    return Switched(found.hot_rows - staying.rows, staying.rows, time.monotonic() - began)


def leaving(connection: psycopg.Connection[Any], span: Span, min_bars: int) -> int:
    """How many rows of the span's table are not among the newest ``min_bars`` of their series."""
    rows = archive_spans.fingerprint(connection, span).hot_rows
    if span.timeframe is None or not rows:
        return rows
    numbers = list(archive_spans.symbols(connection, span).values())
    cells = pl.DataFrame({"instrument_id": numbers}, schema={"instrument_id": pl.Int32()})
    return rows - _Staying.of(connection, span, cells, min_bars).rows


def hold(connection: psycopg.Connection[Any], span: Span) -> None:
    """Keep writers out of the span until the transaction ends; readers go on. In the order in which writers lock."""
    if span.timeframe is not None:
        if span.partitioned:
            partitions.lock(connection, span.timeframe, span.month_number)
        connection.execute(_LOCK_CELLS, span.values())
    if partitions.exists(connection, span.table):
        _soon(connection)
        table = partitions.identifier(span.table)
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))


@dataclass(frozen=True, slots=True)
class _Staying:
    """Per instrument the open time from which on its bars stay, and how many of the span that is."""

    limits: dict[str, Any]
    ids: list[int]
    since: list[Any]
    rows: int
    counts: list[tuple[int, Any, int]]

    @classmethod
    def of(cls, connection: psycopg.Connection[Any], span: Span, cells: pl.DataFrame, min_bars: int) -> _Staying:
        if span.timeframe is None:
            return cls({}, [], [], 0, [])
        instruments = sorted(cells["instrument_id"].unique().to_list())
        if min_bars == 0:
            limits: dict[int, Any] = dict.fromkeys(instruments, span.end)
        else:
            values = {"timeframe": str(span.timeframe), "skip": min_bars - 1, "instruments": instruments}
            rows = connection.execute(_STAYING, values, prepare=False).fetchall()
            # of a series with fewer bars than that all stay
            limits = {number: span.start if since is None else since for number, since in rows}
        near = {number: since for number, since in limits.items() if since < span.end}
        counts = []
        if near:
            values = span.values() | {"ids": list(near), "since": list(near.values())}
            counts = connection.execute(_STAYING_ROWS, values, prepare=False).fetchall()
        both = {"instruments": list(limits), "until_open": list(limits.values())}
        return cls(both, list(near), list(near.values()), sum(row[2] for row in counts), counts)


def _account(
    connection: psycopg.Connection[Any], span: Span, cells: pl.DataFrame, staying: _Staying, *, archived: bool
) -> None:
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS switched_cells (instrument_id int, day date, rows int, staying int) "
        "ON COMMIT DELETE ROWS"
    )
    schema = {"instrument_id": pl.Int32(), "day": pl.Date(), "staying": pl.Int64()}
    kept = pl.DataFrame(staying.counts, schema=schema, orient="row")
    rows = cells.join(kept, on=["instrument_id", "day"], how="left").with_columns(pl.col("staying").fill_null(0))
    if not archived:
        rows = rows.with_columns(pl.col("staying").alias("rows"))
    copy_rows(connection, "switched_cells", rows.select("instrument_id", "day", "rows", "staying"))
    connection.execute("ANALYZE pg_temp.switched_cells")
    connection.execute(_ACCOUNT, span.values())


def _forget_revisions(connection: psycopg.Connection[Any], span: Span, staying: _Staying) -> None:
    """The history of bars that leave; it is in a file of its own."""
    statement = sql.SQL(_DELETE).format(table=sql.Identifier("ohlc_revisions"))
    connection.execute(statement, span.values() | staying.limits)


def _copy_of_staying(connection: psycopg.Connection[Any], span: Span, staying: _Staying) -> str | None:
    """A table with just the bars that stay, to take the partition's place; None when none does."""
    if not staying.rows:
        return None
    name = span.table + COMING
    old, new = partitions.identifier(span.table), partitions.identifier(name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(new))
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING COMMENTS)").format(new, old))
    values = span.values() | {"ids": staying.ids, "since": staying.since}
    connection.execute(sql.SQL(_COPY_STAYING).format(new=new, old=old), values, prepare=False)
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (instrument_id, timeframe, open_time)").format(new))
    return name


def replace_partition(connection: psycopg.Connection[Any], span: Span, successor: str | None) -> None:
    """Take the span's partition out of its parent under another name, and put ``successor`` in its place.

    The last thing of a transaction: from here to its end nobody else is in the parent. Raises LockNotAvailable when
    somebody does not leave it soon.
    """
    if not partitions.exists(connection, span.table):
        return
    parent, old = partitions.identifier(span.parent), partitions.identifier(span.table)
    _soon(connection)
    connection.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(parent, old))
    leaving = f"{span.table}{LEAVING}_{time.time_ns() // 1_000_000:x}"
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(old, sql.Identifier(leaving)))
    if successor is not None:
        new = partitions.identifier(successor)
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, sql.Identifier(span.table)))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                parent, old, sql.Literal(span.start.isoformat()), sql.Literal(span.end.isoformat())
            )
        )


def _soon(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")


def drop_leftovers(connections: Connections) -> int:
    """Drop tables that left or never came in, one transaction each; returns how many. Nobody reads them."""
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
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(partitions.identifier(name)))
