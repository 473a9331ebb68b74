"""Spans as frames (``instrument``, ``start``, ``end``) beyond the arithmetic of ``market.gaps``."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.gaps.arithmetic import count_bars
from crypto_pipeline.market.timeframes import Timeframe

SPAN_SCHEMA: dict[str, pl.DataType] = {"instrument": pl.String(), "start": UTC_MS, "end": UTC_MS}


def no_spans() -> pl.DataFrame:
    """A frame of spans with no row."""
    return pl.DataFrame(schema=SPAN_SCHEMA)


def spans(rows: list[tuple[str, datetime, datetime]]) -> pl.DataFrame:
    """A frame of spans from ``(instrument, start, end)`` rows."""
    return pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row")


def open_times_of(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Every open time on the grid inside the spans, one row each: ``instrument``, ``open_time``."""
    every = f"{timeframe.minutes}m"
    return (
        frame.with_columns(pl.datetime_ranges("start", "end", every, closed="left", time_unit="ms").alias("open_time"))
        .select("instrument", "open_time")
        .explode("open_time", empty_as_null=False)
        .cast({"open_time": UTC_MS})
    )


def clip(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Spans cut to ``[start, end)``; what lies outside is dropped."""
    cut = frame.with_columns(
        pl.max_horizontal("start", pl.lit(start, UTC_MS)), pl.min_horizontal("end", pl.lit(end, UTC_MS))
    )
    return cut.filter(pl.col("start") < pl.col("end"))


def bar_count(frame: pl.DataFrame, timeframe: Timeframe) -> int:
    """How many bars of ``timeframe`` the spans hold."""
    return int(count_bars(frame, timeframe).sum())
