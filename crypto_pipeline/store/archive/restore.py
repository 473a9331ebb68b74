"""Restoring archived months of bars with their history, or days of trades, into their tables.

For a month with its own partition, a new table is built from the file and the rows in the table, and then replaces the
partition. Retention leaves a restored span in the table for the requested time, then archives it again. Its files are
kept until then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.store.archive import parquet, restore_bars
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.restore_bars import Loaded
from crypto_pipeline.store.archive.rows import FILE_SCHEMAS
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import copy_rows
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import bars, rebuild, swap, trades
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.span import ChangedError, Span
from crypto_pipeline.store.partitions.vacuum import vacuum

log = logging.getLogger(__name__)

#: Attempts for a span that writers change while it is built; then the caller must try again.
_ATTEMPTS = 3
_EPOCH = date(1970, 1, 1)

# Rows in the table are newer than archived rows.
_INSERT_TRADES = """
INSERT INTO market.trades ({columns})
SELECT {columns} FROM pg_temp.restored_trades s
WHERE NOT EXISTS (
    SELECT FROM market.trades t WHERE t.instrument_id = s.instrument_id AND t."time" = s."time"
    AND t.trade_id = s.trade_id AND t.venue_id = s.venue_id
)
ORDER BY instrument_id, "time", trade_id, venue_id
"""
_HOLD = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp() + %s::interval
WHERE archive_id = ANY(%s) AND status = 'current'
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """Restored rows of a span, by kind of file."""

    span: Span
    rows: dict[str, int]


def restore(connections: Connections, files: Sequence[ArchiveFile], keep: timedelta) -> Restored:
    """Verify and restore the current files of one span, all or none; retention leaves the span alone for ``keep``.

    The caller holds retention's lock. Raises StoreError when a file is missing or damaged, or when the span changed
    during every attempt.
    """
    span = Span(files[0].timeframe, files[0].first_open, files[0].end_open)
    numbers = [file.archive_id for file in files]
    with ExitStack() as stack:
        places = {file.kind: _verified(stack, file) for file in files}
        if span.timeframe is None:
            rows = _trades(connections, span, places["trades"], numbers, keep)
        else:
            rows = _bars(connections, span, places, numbers, keep)
    return Restored(span, {kind: rows[kind] for kind in places})


def _verified(stack: ExitStack, file: ArchiveFile) -> Path:
    path = stack.enter_context(ArchiveStorage(file.base_url).fetched(file.path))
    parquet.verify(path, file.kind, file.sha256, rows=file.rows)
    return path


def _release(connection: psycopg.Connection[Any], span: Span, numbers: list[int], keep: timedelta) -> None:
    if connection.execute(_HOLD, [keep, numbers]).rowcount != len(numbers):
        raise StoreError(f"{span} was restored or archived again meanwhile: see `crypto-pipeline archive`")


def _bars(
    connections: Connections, span: Span, places: dict[str, Path], numbers: list[int], keep: timedelta
) -> dict[str, int]:
    for attempt in range(1, _ATTEMPTS + 1):
        found = connections.run(archive_spans.fingerprint, span)
        if span.partitioned:
            assert span.timeframe is not None
            connections.run(bars.ensure, span.timeframe, span.month_number)
            loaded = connections.run(restore_bars.build, connections, span, places)
        else:
            loaded = restore_bars.collect(connections, span, places)
        try:
            swap.retry_until_unlocked(connections, span, _switch, span, found.text, loaded, numbers, keep)
        except ChangedError as error:
            log.info("%s (attempt %d)", error, attempt)
            continue
        swap.drop_leftovers(connections)
        if span.partitioned:
            vacuum(connections, [bars.identifier(span.table)], "ANALYZE")
        return loaded.restored
    raise StoreError(f"{span} changed during every attempt: try again later")


def _switch(
    connection: psycopg.Connection[Any],
    span: Span,
    made_from: str,
    loaded: Loaded,
    numbers: list[int],
    keep: timedelta,
) -> None:
    swap.lock_out_writers(connection, span)
    if archive_spans.fingerprint(connection, span).text != made_from:
        raise ChangedError(f"{span}: bars changed during the restore")
    _release(connection, span, numbers, keep)
    restore_bars.account(connection, span, loaded)
    if span.partitioned:
        rebuild.take_place(connection, span)
    else:
        restore_bars.replace(connection, span, loaded)


def _trades(connections: Connections, span: Span, place: Path, numbers: list[int], keep: timedelta) -> dict[str, int]:
    schema = FILE_SCHEMAS["trades"]
    frame = pl.concat([pl.DataFrame(schema=schema), *parquet.row_groups(place, "trades")])
    connections.run(trades.ensure_day, (span.start.date() - _EPOCH).days)
    return {"trades": connections.run(_add_trades, span, frame, numbers, keep)}


def _add_trades(
    connection: psycopg.Connection[Any], span: Span, frame: pl.DataFrame, numbers: list[int], keep: timedelta
) -> int:
    swap.lock_out_writers(connection, span)
    _release(connection, span, numbers, keep)
    trades.note_returned(connection, span.start.date())
    known = {name: number for number, name in archive_spans.venues(connection).items()}
    symbols = archive_spans.symbols(connection, span)
    rows = frame.with_columns(
        pl.col("instrument").replace_strict(symbols, return_dtype=pl.Int32).alias("instrument_id"),
        pl.col("venue").replace_strict(known, return_dtype=pl.Int16).alias("venue_id"),
        (pl.col("taker_side") == "buy").alias("taker_buy"),
    ).drop("instrument", "venue", "taker_side")
    connection.execute("CREATE TEMP TABLE restored_trades (LIKE market.trades) ON COMMIT DROP")
    copy_rows(connection, "restored_trades", rows)
    connection.execute("ANALYZE pg_temp.restored_trades")
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    return connection.execute(sql.SQL(_INSERT_TRADES).format(columns=columns)).rowcount
