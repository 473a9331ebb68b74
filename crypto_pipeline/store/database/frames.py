"""Helpers of the modules of tables, which convert frames to rows and rows to frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    from sqlalchemy import CompoundSelect, Connection, Select

_UTC_US = pl.Datetime("us", "UTC")


def require_columns(frame: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise StoreError that names the first missing column."""
    for name in columns:
        if name not in frame.columns:
            raise StoreError(f"{what} needs the column {name!r}; it has {', '.join(frame.columns) or 'none'}")


def numbered(frame: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    """Replace ``instrument`` by ``instrument_id``."""
    number = pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32).alias("instrument_id")
    return frame.with_columns(number).drop("instrument")


def named(frame: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    """Replace ``instrument_id`` by ``instrument``, as the first column."""
    symbols = {number: symbol for symbol, number in ids.items()}
    name = pl.col("instrument_id").replace_strict(symbols, return_dtype=pl.String).alias("instrument")
    return frame.select(name, pl.exclude("instrument_id"))


def copy_rows(connection: psycopg.Connection[Any], table: str, frame: pl.DataFrame) -> None:
    """COPY a frame of plain values into a temporary table with the same columns."""
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT CSV)").format(sql.Identifier("pg_temp", table), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in frame.iter_slices(50_000):
            copy.write(piece.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f+00"))


def cell_bounds(timeframe: Timeframe, start: datetime | None, end: datetime | None) -> tuple[date, date]:
    """First and last coverage day of the cells that overlap ``[start, end)``; None is unbounded."""
    step = timedelta(days=timeframe.cell_days - 1)
    first = date(1, 1, 8) if start is None else start.astimezone(UTC).date() - step
    last = date(9999, 12, 31) if end is None else (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    return first, last


def core_frame(
    connections: Connections, query: Select[Any] | CompoundSelect[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The rows of ``query`` in ``schema``, whose columns have the query's names and order."""

    def read(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(query)]

    # PostgreSQL's times have microseconds
    types = {name: _UTC_US if isinstance(dtype, pl.Datetime) else dtype for name, dtype in schema.items()}
    rows = pl.DataFrame(connections.run_core(read), schema=types, orient="row")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
