"""Flat bars for windows without a bar: for callers that need an even grid. They are marked and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import OPTIONAL_COLUMNS, UTC_MS
from crypto_pipeline.market.calendars import Calendar
from crypto_pipeline.market.timeframes import Timeframe

_PRICES = ("open", "high", "low", "close")
_NOTHING_TRADED = ("volume", *OPTIONAL_COLUMNS)


def fill_flat(
    bars: pl.DataFrame,
    timeframe: Timeframe,
    calendars: Mapping[str, Calendar],
    before: Mapping[str, tuple[datetime, float]],
    after: Mapping[str, datetime],
    begin: datetime | None,
    until: datetime,
) -> pl.DataFrame:
    """``bars`` (instrument, open_time, close and any others of the read schema) with a row for every expected window.

    A window without a bar gets the close before it as its four prices, zero volumes and counts, nulls elsewhere, and
    true in the column ``filled``. Windows are filled between bars only: from the span's begin where ``before`` has the
    last bar before it (open time and close), else from the first bar; to the span's end where a bar opens at or
    ``after`` it, else to the last bar. ``begin`` None: from the first bar on.
    """
    parts = []
    own = {name: part for (name,), part in bars.partition_by("instrument", as_dict=True, maintain_order=True).items()}
    for name in sorted(calendars):
        part = own.get(name, bars.clear())
        earlier = before.get(name)
        first = begin if begin is not None and earlier is not None else part["open_time"].min()
        newest = after.get(name)
        last = until if newest is not None and newest >= until else part["open_time"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            continue  # no bar on either side: there is no price to fill with
        end = last if last == until else last + timeframe.delta
        grid = pl.DataFrame({"open_time": _windows(calendars[name], timeframe, first, end)})
        whole = grid.join(part, on="open_time", how="full", coalesce=True).sort("open_time")
        parts.append(_filled(whole, name, None if earlier is None else earlier[1]))
    schema = {**bars.schema, "filled": pl.Boolean()}
    return pl.concat(parts).select(list(schema)) if parts else pl.DataFrame(schema=schema)


def _windows(calendar: Calendar, timeframe: Timeframe, start: datetime, end: datetime) -> pl.Series:
    width = f"{timeframe.minutes}m"
    spans = calendar.spans(timeframe, start, end)
    parts = [pl.datetime_range(first, last, width, closed="left", eager=True).cast(UTC_MS) for first, last in spans]
    return pl.concat(parts) if parts else pl.Series(dtype=UTC_MS)


def _filled(whole: pl.DataFrame, name: str, close_before: float | None) -> pl.DataFrame:
    empty = pl.col("instrument").is_null()
    close = pl.col("close").forward_fill()
    if close_before is not None:
        close = close.fill_null(close_before)
    values = [
        *(pl.when(empty).then(close).otherwise(price).alias(price) for price in _PRICES if price in whole.columns),
        *(
            pl.when(empty).then(pl.lit(0)).otherwise(pl.col(column)).cast(whole.schema[column]).alias(column)
            for column in _NOTHING_TRADED
            if column in whole.columns
        ),
        empty.alias("filled"),
        pl.lit(name).alias("instrument"),
    ]
    return whole.with_columns(values)
