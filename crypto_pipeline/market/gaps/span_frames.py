"""Frames of half-open spans (``instrument``, ``start``, ``end``; UTC), for all instruments at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

#: Columns of a frame of spans.
SPAN_SCHEMA: dict[str, pl.DataType] = {"instrument": pl.String(), "start": UTC_MS, "end": UTC_MS}


def empty_spans() -> pl.DataFrame:
    """A frame of spans with no row."""
    return pl.DataFrame(schema=SPAN_SCHEMA)


def spans_from_rows(rows: Iterable[tuple[str, datetime, datetime]]) -> pl.DataFrame:
    """A frame of spans from ``(instrument, start, end)`` rows."""
    return pl.DataFrame(list(rows), schema=SPAN_SCHEMA, orient="row")


def clip(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """The spans of ``frame`` cut to ``[start, end)``, other columns kept; spans outside are left out."""
    cut = frame.with_columns(
        pl.max_horizontal("start", pl.lit(start, UTC_MS)), pl.min_horizontal("end", pl.lit(end, UTC_MS))
    )
    return cut.filter(pl.col("start") < pl.col("end"))


def open_times_of(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Every open time of ``timeframe`` inside the spans, one row each: ``instrument``, ``open_time`` (ms, UTC)."""
    every = f"{timeframe.minutes}m"
    return (
        frame.with_columns(pl.datetime_ranges("start", "end", every, closed="left", time_unit="ms").alias("open_time"))
        .select("instrument", "open_time")
        .explode("open_time", empty_as_null=False)
        .cast({"open_time": UTC_MS})
    )


def bar_count(frame: pl.DataFrame, timeframe: Timeframe) -> int:
    """How many bars of ``timeframe`` all spans together hold (their edges lie on its grid)."""
    width = (pl.col("end") - pl.col("start")).dt.total_milliseconds() // timeframe.milliseconds
    return int(frame.select(width.sum()).item())


def merge(spans: pl.DataFrame) -> pl.DataFrame:
    """Overlapping and touching spans joined, empty ones dropped, sorted."""
    typed = _typed(spans)
    if spans.is_empty():  # the usual case of a pass with nothing to do; setting up a query costs milliseconds
        return empty_spans()
    ordered = spans.lazy().select(typed).filter(pl.col("start") < pl.col("end")).sort("instrument", "start")
    reach = pl.col("end").cum_max().over("instrument").shift(1)
    fresh = (pl.col("instrument") != pl.col("instrument").shift(1)) | (pl.col("start") > reach)
    return (
        ordered.with_columns(_group=fresh.fill_null(value=True).cum_sum())
        .group_by("_group", maintain_order=True)
        .agg(pl.col("instrument").first(), pl.col("start").first(), pl.col("end").max())
        .drop("_group")
        .collect()
    )


def subtract(spans: pl.DataFrame, holes: pl.DataFrame) -> pl.DataFrame:
    """What of ``spans`` lies in none of ``holes``."""
    if spans.is_empty() or holes.is_empty():
        return merge(spans)
    return _sweep(spans, holes, (pl.col("_a") > 0) & (pl.col("_b") == 0))


def intersect(spans: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """What of ``spans`` lies in one of ``others``."""
    if spans.is_empty() or others.is_empty():
        return empty_spans()
    return _sweep(spans, others, (pl.col("_a") > 0) & (pl.col("_b") > 0))


def from_open_times(open_times: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """The spans that bars ``[instrument, open_time]`` fill; any order, copies allowed."""
    width = timeframe.delta
    ordered = open_times.lazy().select(pl.col("instrument").cast(pl.String), pl.col("open_time").cast(UTC_MS))
    ordered = ordered.sort("instrument", "open_time")
    step = pl.col("open_time") - pl.col("open_time").shift(1)
    fresh = (pl.col("instrument") != pl.col("instrument").shift(1)) | (step > width)
    return (
        ordered.with_columns(_group=fresh.fill_null(value=True).cum_sum())
        .group_by("_group", maintain_order=True)
        .agg(
            pl.col("instrument").first(),
            pl.col("open_time").first().alias("start"),
            (pl.col("open_time").last() + width).alias("end"),
        )
        .drop("_group")
        .collect()
    )


def _typed(spans: pl.DataFrame) -> list[pl.Expr]:
    if missing := [name for name in SPAN_SCHEMA if name not in spans.columns]:
        raise ValueError(f"spans lack the column {', '.join(missing)}: there are {', '.join(spans.columns)}")
    return [pl.col(name).cast(dtype) for name, dtype in SPAN_SCHEMA.items()]


def _sweep(spans: pl.DataFrame, others: pl.DataFrame, keep: pl.Expr) -> pl.DataFrame:
    """Walk the edges of both in time order and keep the stretches in which ``keep`` holds of how many are open."""
    edges = pl.concat([_edges(merge(spans), "_a"), _edges(merge(others), "_b")], how="diagonal").lazy()
    stretches = (
        edges.group_by("instrument", "start")
        .agg(pl.col("_a", "_b").sum())
        .sort("instrument", "start")
        .with_columns(pl.col("_a", "_b").cum_sum(), end=pl.col("start").shift(-1))
    )
    # Every span that opens also closes, so the sums are zero again at the end of each instrument.
    return merge(stretches.filter(keep).select(*SPAN_SCHEMA).collect())


def _edges(spans: pl.DataFrame, name: str) -> pl.DataFrame:
    opening = spans.select("instrument", "start", pl.lit(1, pl.Int64).alias(name))
    closing = spans.select("instrument", pl.col("end").alias("start"), pl.lit(-1, pl.Int64).alias(name))
    return pl.concat([opening, closing])
