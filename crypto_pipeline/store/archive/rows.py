"""Rows for archive files: read from the tables as numpy columns, returned as frames in the schema of the files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA, UTC_MS, VALUE_COLUMNS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns import column_reads
from crypto_pipeline.store.columns.bars import OPTIONAL_AMOUNTS, OPTIONAL_COUNTS, RANKS, Columns
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field
from crypto_pipeline.store.columns.trades import TRADE_LAYOUT

_UTC_US = pl.Datetime("us", "UTC")
_SUPERSEDED = Field("superseded_at", "timestamptz")
#: Columns of a file of bars: READ_SCHEMA without ``vwap``, which is computed from others.
BAR_FILE: dict[str, pl.DataType] = {
    **BAR_SCHEMA,
    "recorded_at": _UTC_US,
}
REVISION_FILE: dict[str, pl.DataType] = {**BAR_FILE, "superseded_at": _UTC_US}
TRADE_FILE: dict[str, pl.DataType] = {"instrument": pl.String(), "venue": pl.String(), **TRADE_SCHEMA}
FILE_SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "bars": BAR_FILE,
    "revisions": REVISION_FILE,
    "trades": TRADE_FILE,
}

_OF_SERIES = """
    SELECT * FROM market.{table}
    WHERE instrument_id = ANY(%(instruments)s) AND timeframe = %(timeframe)s
      AND open_time >= %(start)s AND open_time < %(end)s
    ORDER BY instrument_id, open_time
"""
_OF_TRADES = """
    SELECT * FROM market.trades
    WHERE instrument_id = ANY(%(instruments)s) AND "time" >= %(start)s AND "time" < %(end)s
    ORDER BY instrument_id, "time", trade_id
"""


def bars(
    connection: psycopg.Connection[Any], names: Mapping[int, str], timeframe: Timeframe, start: datetime, end: datetime
) -> pl.DataFrame:
    """Bars of the instruments (names by number) in ``[start, end)``, in BAR_FILE, sorted by name and time."""
    query = sql.SQL(_OF_SERIES).format(table=sql.Identifier("ohlc_data"))
    found = column_reads.read(connection, column_reads.BARS, query, _span(names, timeframe, start, end))
    return _ordered(_bar_frame(found, names).select(*BAR_FILE), names, "open_time")


def revisions(
    connection: psycopg.Connection[Any], names: Mapping[int, str], timeframe: Timeframe, start: datetime, end: datetime
) -> pl.DataFrame:
    """Superseded copies of bars of the instruments in ``[start, end)``, in REVISION_FILE, oldest first for each bar."""
    query = sql.SQL(_OF_SERIES).format(table=sql.Identifier("ohlc_revisions"))
    found = column_reads.read(connection, (*column_reads.BARS, _SUPERSEDED), query, _span(names, timeframe, start, end))
    frame = _bar_frame(found, names).with_columns(_time(found["superseded_at"], "superseded_at", "us"))
    return frame.select(*REVISION_FILE).sort("instrument", "open_time", "superseded_at", "recorded_at")


def day_of_trades(
    connection: psycopg.Connection[Any],
    names: Mapping[int, str],
    venues: Mapping[int, str],
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """Trades of the instruments in ``[start, end)``, in TRADE_FILE, sorted by name, time and id."""
    found = column_reads.read(connection, TRADE_LAYOUT, sql.SQL(_OF_TRADES), _span(names, None, start, end))
    frame = pl.DataFrame({name: found[name] for name in ("trade_id", "first_id", "last_id", "price", "quantity")})
    frame = frame.with_columns(
        _text(found["instrument_id"], names, "instrument"),
        _text(found["venue_id"], venues, "venue"),
        _time(found["time"], "time", "ms"),
        pl.Series("taker_side", np.where(found["taker_buy"], "buy", "sell")).cast(pl.String),
    )
    return _ordered(frame.select(*TRADE_FILE), names, "time", "trade_id")


def _span(names: Mapping[int, str], timeframe: Timeframe | None, start: datetime, end: datetime) -> dict[str, Any]:
    return {"instruments": list(names), "timeframe": timeframe and str(timeframe), "start": start, "end": end}


def _bar_frame(columns: Columns, names: Mapping[int, str]) -> pl.DataFrame:
    frame = pl.DataFrame({name: columns[name] for name in (*VALUE_COLUMNS, "complete")})
    sources = {rank: source for source, rank in RANKS.items()}
    return frame.with_columns(
        _text(columns["instrument_id"], names, "instrument"),
        _text(columns["source_rank"], sources, "source"),
        _time(columns["open_time"], "open_time", "ms"),
        _time(columns["revision"], "revision", "ms"),
        _time(columns["recorded_at"], "recorded_at", "us"),
        pl.col(OPTIONAL_AMOUNTS).fill_nan(None),
        *(pl.when(pl.col(name) >= 0).then(name).alias(name) for name in OPTIONAL_COUNTS),
    )


def _ordered(frame: pl.DataFrame, names: Mapping[int, str], *by: str) -> pl.DataFrame:
    """Sort by instrument name; the database sorted by instrument number, so rows of one instrument are in order."""
    return frame if len(names) == 1 else frame.sort("instrument", *by)


def _text(numbers: Any, texts: Mapping[int, str], name: str) -> pl.Series:
    """Names for numbers. Raises an error for a number without a name."""
    if len(numbers) and (numbers == numbers[0]).all():  # the usual case
        return pl.repeat(texts[int(numbers[0])], len(numbers), dtype=pl.String, eager=True).alias(name)
    return pl.Series(name, numbers).replace_strict(texts, return_dtype=pl.String)


def _time(microseconds: Any, name: str, unit: str) -> pl.Series:
    # PG_EPOCH_US is whole milliseconds
    values = microseconds // 1000 + PG_EPOCH_US // 1000 if unit == "ms" else microseconds + PG_EPOCH_US
    return pl.Series(name, values, dtype=pl.Int64).cast(UTC_MS if unit == "ms" else _UTC_US)
