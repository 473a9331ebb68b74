"""Removal of archived rows from their table; the same transaction makes their files current.

A partition is removed as a whole. A month that shares its table with others is removed by DELETE, some instruments at a
time, so that transactions are short. Until then its rows are in both places, and readers use only one of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.store.archive import accounting
from crypto_pipeline.store.archive.accounting import KeptRows
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import bars, rebuild, trades
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.span import ChangedError, Span
from crypto_pipeline.store.partitions.swap import lock_out_writers, replace_partition, retry_until_unlocked

log = logging.getLogger(__name__)

#: Approximate number of rows that one transaction deletes; at least one instrument's month.
PART_ROWS = 20_000

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
_RETIRE = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE status = 'current' AND kind = ANY(%(kinds)s) AND timeframe = %(timeframe)s
  AND first_open = %(start)s AND end_open = %(end)s
"""
_CURRENT = """
UPDATE market.archive_files SET status = 'current', current_at = clock_timestamp()
WHERE archive_id = ANY(%s) AND status = 'verified'
"""


_MARKS = """
SELECT instrument_id, count(*) || '.' || sum(data_version) || '.' || sum(present - archived),
    sum(present - archived)::bigint
FROM market.coverage
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s
  AND (%(only)s::int[] IS NULL OR instrument_id = ANY(%(only)s::int[]))
GROUP BY 1 ORDER BY 1
"""
_IN_TABLE = """
SELECT instrument_id, day, present::bigint, (present - archived)::bigint FROM market.coverage
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s AND instrument_id = ANY(%(only)s::int[])
"""
#: Per instrument the state of its cells, and the number of its bars in the table.
Marks = dict[int, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Switched:
    """Number of removed rows, number of rows that stay (the newest ones, or rows changed meanwhile), and the
    longest time in seconds that writers of the span waited.
    """

    rows: int
    staying: int
    seconds: float


def detach(
    connections: Connections, span: Span, made_from: str, counted: pl.DataFrame, files: Sequence[int], min_bars: int
) -> Switched:
    """Make verified ``files`` current and remove their rows from the table.

    ``counted`` (CELLS) has the number of bars of each cell in the files. The newest ``min_bars`` of each series stay.
    Without files the rows are deleted for good. Raises ChangedError when the rows' fingerprint differs from
    ``made_from``.
    """
    if span.partitioned:
        return retry_until_unlocked(connections, span, _switch, span, made_from, counted, list(files), min_bars)
    return _by_parts(connections, span, made_from, counted, list(files), min_bars)


def rows_to_detach(connection: psycopg.Connection[Any], span: Span, min_bars: int) -> int:
    """Number of rows of the span's table beyond the newest ``min_bars`` of their series."""
    rows = archive_spans.fingerprint(connection, span).hot_rows
    if span.timeframe is None or not rows:
        return rows
    numbers = list(archive_spans.symbols(connection, span).values())
    return rows - KeptRows.of_span(connection, span, numbers, min_bars).rows


# -- a partition ------------------------------------------------------------------------------------------------------


def _switch(
    connection: psycopg.Connection[Any],
    span: Span,
    made_from: str,
    counted: pl.DataFrame,
    files: list[int],
    min_bars: int,
) -> Switched:
    began, rows = _hold(connection, span, made_from)
    staying = KeptRows.of_span(connection, span, counted["instrument_id"].to_list(), min_bars)
    if span.timeframe is None:
        trades.note_removed(connection, [span.start.date()])
    else:
        accounting.account(connection, span, staying.beside(counted), dropped=not files)
        _delete(connection, "ohlc_revisions", span, staying)
    _make_current(connection, span, files)
    if staying.rows:
        _build_of_staying(connection, span, staying)
        rebuild.take_place(connection, span)
    else:
        replace_partition(connection, span, None)
    return Switched(rows - staying.rows, staying.rows, time.monotonic() - began)


def _hold(connection: psycopg.Connection[Any], span: Span, made_from: str) -> tuple[float, int]:
    lock_out_writers(connection, span)
    began = time.monotonic()
    found = archive_spans.fingerprint(connection, span)
    if found.text != made_from:
        raise ChangedError(f"{span}: rows changed while they were archived")
    return began, found.hot_rows


def _make_current(connection: psycopg.Connection[Any], span: Span, files: list[int]) -> None:
    if files:
        connection.execute(_RETIRE, span.values() | {"kinds": list(span.kinds)})
        if connection.execute(_CURRENT, [files]).rowcount != len(files):
            raise StoreError(f"{span}: its files are no longer verified; run the archive again")


def _build_of_staying(connection: psycopg.Connection[Any], span: Span, staying: KeptRows) -> None:
    """Make a table with only the bars that stay, to replace the partition."""
    old, new = bars.identifier(span.table), rebuild.begin(connection, span)
    values = span.values() | {"ids": staying.ids, "since": staying.since}
    connection.execute(sql.SQL(_COPY_STAYING).format(new=new, old=old), values, prepare=False)
    rebuild.finish(connection, span)


# -- a month among others ---------------------------------------------------------------------------------------------


def _by_parts(
    connections: Connections, span: Span, made_from: str, counted: pl.DataFrame, files: list[int], min_bars: int
) -> Switched:
    marks, longest = retry_until_unlocked(connections, span, _publish, span, made_from, counted, files)
    gone = 0
    for part in _parts(marks):
        try:
            rows, seconds = retry_until_unlocked(
                connections, span, _detach_part, span, part, min_bars, archived=bool(files)
            )
        except ChangedError as error:
            log.info("%s: they stay until the next run", error)
            continue
        gone, longest = gone + rows, max(longest, seconds)
    return Switched(gone, sum(rows for _, rows in marks.values()) - gone, longest)


def _publish(
    connection: psycopg.Connection[Any], span: Span, made_from: str, counted: pl.DataFrame, files: list[int]
) -> tuple[Marks, float]:
    """Make the files current while all rows are still in the table."""
    began, _ = _hold(connection, span, made_from)
    if files:
        numbers = counted["instrument_id"].unique().to_list()
        there = _cells(connection, span, numbers).drop("rows")
        accounting.account(connection, span, counted.join(there, on=["instrument_id", "day"]))
        _make_current(connection, span, files)
    return _marks(connection, span), time.monotonic() - began


def _detach_part(
    connection: psycopg.Connection[Any], span: Span, part: Marks, min_bars: int, *, archived: bool
) -> tuple[int, float]:
    """Delete the rows of some instruments in the span, unless one of their bars has changed meanwhile."""
    numbers = list(part)
    lock_out_writers(connection, span, numbers)
    began = time.monotonic()
    if _marks(connection, span, numbers) != part:
        raise ChangedError(f"{span}: bars of {len(part)} instruments changed after they were archived")
    staying = KeptRows.of_span(connection, span, numbers, min_bars)
    cells = staying.beside(_cells(connection, span, numbers).drop("staying"))
    accounting.account(connection, span, cells, dropped=not archived)
    gone = _delete(connection, span.table, span, staying)
    if gone + staying.rows != sum(rows for _, rows in part.values()):
        raise ChangedError(f"{span}: {gone:,} rows to delete and {staying.rows:,} to keep are not all rows of the span")
    _delete(connection, "ohlc_revisions", span, staying)
    return gone, time.monotonic() - began


def _parts(marks: Marks) -> Iterator[Marks]:
    part: Marks = {}
    for number, (text, rows) in marks.items():
        if part and sum(count for _, count in part.values()) + rows > PART_ROWS:
            yield part
            part = {}
        if rows:
            part[number] = (text, rows)
    if part:
        yield part


def _marks(connection: psycopg.Connection[Any], span: Span, only: list[int] | None = None) -> Marks:
    rows = connection.execute(_MARKS, span.values() | {"only": only}).fetchall()
    return {number: (text, count) for number, text, count in rows}


def _cells(connection: psycopg.Connection[Any], span: Span, numbers: list[int]) -> pl.DataFrame:
    """Per cell ``rows``, its number of bars, and ``staying``, the number of them in the table."""
    rows = connection.execute(_IN_TABLE, span.values() | {"only": numbers}).fetchall()
    return pl.DataFrame(rows, schema={**accounting.CELLS, "staying": pl.Int64()}, orient="row")


def _delete(connection: psycopg.Connection[Any], table: str, span: Span, staying: KeptRows) -> int:
    """Delete the rows that do not stay: bars, or their history, which has its own file."""
    statement = sql.SQL(_DELETE).format(table=sql.Identifier(table))
    return connection.execute(statement, span.values() | staying.limits).rowcount
