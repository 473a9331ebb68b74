"""Back from the archive: months of bars with their history, or days of trades, into the tables they came from.

A restored span is left alone by retention for as long as was asked for; then it is archived again. Its files stay until
then as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.store import archive_parquet, archive_switch, partitions, trade_days
from crypto_pipeline.store.archive_catalogue import ArchiveFile
from crypto_pipeline.store.archive_rows import FILE_SCHEMAS
from crypto_pipeline.store.archive_spans import Span, symbols, venues
from crypto_pipeline.store.archive_storage import ArchiveStorage
from crypto_pipeline.store.bar_columns import RANKS
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.frames import copy_rows
from crypto_pipeline.store.pool import Connections

_EPOCH = date(1970, 1, 1)
_KEYS = {
    "bars": ("instrument_id", "timeframe", "open_time"),
    "revisions": ("instrument_id", "timeframe", "open_time", "recorded_at", "superseded_at"),
    "trades": ("instrument_id", "time", "trade_id", "venue_id"),
}
_TABLES = {"bars": "ohlc_data", "revisions": "ohlc_revisions", "trades": "trades"}

# What is in the table is newer than what was archived.
_INSERT = """
INSERT INTO market.{table} ({columns})
SELECT {columns} FROM pg_temp.{staged} s
WHERE NOT EXISTS (SELECT FROM market.{table} t WHERE {same})
ORDER BY {key}
"""
_COUNT = """
UPDATE market.coverage SET archived = 0, updated_at = now(), present = h.rows,
    final = expected > 0 AND h.rows + explained >= expected
FROM (
    SELECT c.instrument_id AS i, c.day AS d, count(o.open_time) AS rows
    FROM market.coverage c
    LEFT JOIN market.ohlc_data o ON o.instrument_id = c.instrument_id AND o.timeframe = %(timeframe)s
        AND o.open_time >= %(start)s AND o.open_time < %(end)s
        AND (o.open_time AT TIME ZONE 'UTC')::date = c.day
    WHERE c.timeframe = %(timeframe)s AND c.day >= %(first)s AND c.day < %(until)s
    GROUP BY 1, 2
) AS h
WHERE instrument_id = h.i AND timeframe = %(timeframe)s AND day = h.d
"""
_HOLD = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp() + %s::interval
WHERE archive_id = ANY(%s) AND status = 'current'
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """Rows that a span got back, by kind of file."""

    span: Span
    rows: dict[str, int]


def restore(connections: Connections, files: Sequence[ArchiveFile], keep: timedelta) -> Restored:
    """Bring the current files of one span back in one transaction, verified before; ``keep`` holds retention off.

    Raises StoreError when a file is not there or not what it was.
    """
    span = Span(files[0].timeframe, files[0].first_open, files[0].end_open)
    frames = {file.kind: _read(file) for file in files}
    if span.timeframe is not None:
        if span.partitioned:
            connections.run(partitions.ensure, span.timeframe, span.month_number)
    else:
        connections.run(trade_days.ensure_day, (span.start.date() - _EPOCH).days)
    return Restored(span, connections.run(_restore, span, frames, [file.archive_id for file in files], keep))


def _read(file: ArchiveFile) -> pl.DataFrame:
    with ArchiveStorage(file.base_url).fetched(file.path) as path:
        archive_parquet.verify(path, file.kind, file.sha256, rows=file.rows)
        schema = FILE_SCHEMAS[file.kind]
        return pl.concat([pl.DataFrame(schema=schema), *archive_parquet.row_groups(path, file.kind)])


def _restore(
    connection: psycopg.Connection[Any],
    span: Span,
    frames: dict[str, pl.DataFrame],
    numbers: list[int],
    keep: timedelta,
) -> dict[str, int]:
    archive_switch.hold(connection, span)
    if connection.execute(_HOLD, [keep, numbers]).rowcount != len(numbers):
        raise StoreError(f"{span} was restored or archived anew meanwhile: look again with `crypto-pipeline archive`")
    added = {kind: _add(connection, span, kind, frame) for kind, frame in frames.items()}
    if span.timeframe is not None:
        connection.execute(_COUNT, span.values())
    return added


def _add(connection: psycopg.Connection[Any], span: Span, kind: str, frame: pl.DataFrame) -> int:
    rows = _numbered(connection, span, frame)
    staged = f"restored_{kind}"
    table = _TABLES[kind]
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} (LIKE market.{}) ON COMMIT DROP").format(
            sql.Identifier(staged), sql.Identifier(table)
        )
    )
    copy_rows(connection, staged, rows)
    connection.execute(sql.SQL("ANALYZE pg_temp.{}").format(sql.Identifier(staged)))
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), sql.Identifier("s", name)) for name in _KEYS[kind]
    )
    statement = sql.SQL(_INSERT).format(
        table=sql.Identifier(table),
        staged=sql.Identifier(staged),
        columns=sql.SQL(", ").join(map(sql.Identifier, rows.columns)),
        same=same,
        key=sql.SQL(", ").join(map(sql.Identifier, _KEYS[kind])),
    )
    return connection.execute(statement).rowcount


def _numbered(connection: psycopg.Connection[Any], span: Span, frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of the table: numbers for names."""
    number = pl.col("instrument").replace_strict(symbols(connection, span), return_dtype=pl.Int32)
    rows = frame.with_columns(number.alias("instrument_id"))
    if span.timeframe is None:
        known = {name: key for key, name in venues(connection).items()}
        return rows.with_columns(
            pl.col("venue").replace_strict(known, return_dtype=pl.Int16).alias("venue_id"),
            (pl.col("taker_side") == "buy").alias("taker_buy"),
        ).drop("instrument", "venue", "taker_side")
    return rows.with_columns(
        pl.col("source").replace_strict(RANKS, return_dtype=pl.Int16).alias("source_rank"),
        pl.lit(str(span.timeframe)).alias("timeframe"),
    ).drop("instrument", "source")
