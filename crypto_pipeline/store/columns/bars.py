"""Bars as numpy columns, between Polars frames and PostgreSQL's binary format, and the columns of the tables.

``instrument_id`` and ``source_rank`` replace the names, times are microseconds since PostgreSQL's epoch, and absent
values are marked by NaN or -1 (stored values are finite and not negative: ``bars.validation`` refuses others). Every
list of columns follows from ``market.bars.BAR_FIELDS``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import BAR_SCHEMA, OPTIONAL_COLUMNS, PRICE_COLUMNS, VALUE_COLUMNS
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns import copy_format
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_DAYS, PG_EPOCH_US, Field

Array = npt.NDArray[Any]
Columns = dict[str, Array]

DAY_US = 86_400_000_000
RANKS = {str(source): rank for source, rank in SOURCE_RANKS.items()}

_TYPES: dict[pl.DataType, str] = {pl.Float64(): "float8", pl.Int64(): "int8"}
#: The columns of ``market.ohlc_data`` as COPY sends them, without the constant ``timeframe``.
BAR_LAYOUT = (
    Field("open_time", "timestamptz"),
    *(Field(name, _TYPES[BAR_SCHEMA[name]]) for name in VALUE_COLUMNS),
    Field("revision", "timestamptz"),
    Field("recorded_at", "timestamptz"),
    Field("instrument_id", "int4"),
    Field("source_rank", "int2"),
    Field("complete", "bool"),
)
#: The same columns in the order of reads.
BAR_COLUMNS = ("instrument_id", "open_time", *VALUE_COLUMNS, "source_rank", "complete", "revision", "recorded_at")
#: Optional columns of real numbers (absent: NaN) and of counts (absent: -1).
OPTIONAL_AMOUNTS = tuple(name for name in OPTIONAL_COLUMNS if BAR_SCHEMA[name] == pl.Float64)
OPTIONAL_COUNTS = tuple(name for name in OPTIONAL_COLUMNS if BAR_SCHEMA[name] == pl.Int64)
#: SQL that stands for null, per optional column: arrays without nulls have elements of one width.
ABSENT = {**dict.fromkeys(OPTIONAL_AMOUNTS, "'NaN'::float8"), **dict.fromkeys(OPTIONAL_COUNTS, "-1")}
#: Rows encoded at a time: few enough for the processor's cache; the server loads one piece while we make the next.
_PIECE = 4096


def from_frame(frame: pl.DataFrame, ids: dict[str, int]) -> Columns:
    """Columns of a checked frame. The transaction sets ``recorded_at``."""
    numbered = frame.select(
        "open_time",
        pl.col(*PRICE_COLUMNS, "volume"),
        pl.col(OPTIONAL_AMOUNTS).fill_null(float("nan")),
        pl.col(OPTIONAL_COUNTS).fill_null(-1),
        "revision",
        "complete",
        pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32).alias("instrument_id"),
        pl.col("source").replace_strict(RANKS, return_dtype=pl.Int16).alias("source_rank"),
    )
    columns = {}
    for name in numbered.columns:
        values = numbered[name]
        if values.dtype == pl.Datetime("ms", "UTC"):
            columns[name] = values.to_physical().to_numpy() * 1000 - PG_EPOCH_US
        else:
            # + 0 turns -0.0 into 0.0
            columns[name] = values.to_numpy() + 0 if values.dtype == pl.Float64 else values.to_numpy()
    return columns


def take(columns: Columns, rows: Array | slice) -> Columns:
    """The chosen rows of every column. The arrays are not copied where all rows are chosen in order."""
    if isinstance(rows, np.ndarray) and rows.dtype == bool and rows.all():
        return dict(columns)
    return {name: values[rows] for name, values in columns.items()}


def join(first: Columns, second: Columns) -> Columns:
    """The rows of both, with the columns of the first."""
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def key(columns: Columns) -> Array:
    """One sortable number per bar: instrument, then open time."""
    keys: Array = (columns["instrument_id"].astype(np.int64) << 40) + columns["open_time"] // 60_000_000
    return keys


def days(columns: Columns) -> Array:
    """Coverage day of each bar, in days since 1970. (A weekly bar opens on its cell's Monday.)"""
    return columns["open_time"] // DAY_US + PG_EPOCH_DAYS


def copy_in(
    cursor: psycopg.Cursor[Any],
    statement: sql.Composed,
    timeframe: Timeframe,
    columns: Columns,
    *extra: Field,
) -> None:
    """COPY all rows by ``statement``, whose columns are BAR_LAYOUT, then ``timeframe``, then ``extra``."""
    layout = (*BAR_LAYOUT, Field("timeframe", "text", str(timeframe)), *extra)
    nulls = {name: np.isnan(columns[name]) for name in OPTIONAL_AMOUNTS}
    nulls |= {name: columns[name] < 0 for name in OPTIONAL_COUNTS}
    nulls = {name: mask for name, mask in nulls.items() if mask.any()}
    with cursor.copy(statement) as copy:
        copy.write(copy_format.HEADER)
        for start in range(0, len(columns["open_time"]), _PIECE):
            piece = slice(start, start + _PIECE)
            copy.write(copy_format.encode(layout, take(columns, piece), take(nulls, piece)).data)
        copy.write(copy_format.TRAILER)


def column_list(*extra: str) -> sql.Composed:
    """The column names that ``copy_in`` writes."""
    chosen = [*copy_format.names(BAR_LAYOUT), "timeframe", *extra]
    return sql.SQL(", ").join(map(sql.Identifier, chosen))
