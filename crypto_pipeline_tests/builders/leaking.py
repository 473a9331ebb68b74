"""Computations that know what came later, each in its own way; importable, so that a fresh process can be asked."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.features.compute import Bars, compute_features
from crypto_pipeline.market import Timeframe

BENCHMARK = "BTC-USDT"
MIDNIGHT = (pl.col("open_time").dt.hour() == 0) & (pl.col("open_time").dt.minute() == 0)
FULL_HOUR = pl.col("open_time").dt.minute() == 0

#: What a module that caches has seen, by row.
_remembered: dict[tuple[str, datetime], float | None] = {}


def honest(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """The features as they are."""
    return compute_features(bars, start, end, benchmark=BENCHMARK)


def following() -> pl.Expr:
    """What a later row knows: the log return of the next bar."""
    return pl.col("lr_1").shift(-1).over("instrument")


def regime(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """``regime`` from the 4h bar that is still forming: the newest close decides."""
    rising = pl.col("close").last().over(pl.col("open_time").dt.truncate("4h"), "instrument") > pl.col("open")
    fine = bars[Timeframe.M15].filter(instrument=BENCHMARK).select("open_time", forming=rising.cast(pl.Int8))
    rows = honest(bars, start, end).join(fine, on="open_time", how="left", maintain_order="left")
    return rows.with_columns(regime=pl.col("forming")).drop("forming")


def stress(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """``stress`` from the next bar's return."""
    return honest(bars, start, end).with_columns(stress=(following() > 0).cast(pl.Int8))


def eligible(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """``eligible`` only where the next four bars are there."""
    rows = honest(bars, start, end)
    return rows.with_columns(
        eligible=pl.col("eligible") & pl.col("open_time").shift(-4).over("instrument").is_not_null()
    )


def available_at(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """``available_at`` moved where something follows (and so still within the cut)."""
    earlier = pl.col("available_at") - pl.when(following().is_null()).then(0).otherwise(1).cast(pl.Duration("ms"))
    return honest(bars, start, end).with_columns(available_at=earlier)


def at_midnight(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """The next bar in one column, in rows at midnight only."""
    rows = honest(bars, start, end)
    return rows.with_columns(lr_4=pl.when(MIDNIGHT).then(following()).otherwise("lr_4"))


def at_full_hours(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """The next bar in one column, in rows at full hours only."""
    rows = honest(bars, start, end)
    return rows.with_columns(lr_4=pl.when(FULL_HOUR).then(following()).otherwise("lr_4"))


def after_gaps(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """The next bar in one column, in the first row after a gap only."""
    rows = honest(bars, start, end)
    gap = pl.col("open_time").diff().over("instrument") > Timeframe.M15.delta
    return rows.with_columns(lr_4=pl.when(gap).then(following()).otherwise("lr_4"))


def after_listing(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """The next bar in one column, in the first four rows of an instrument that begins later than the others."""
    rows = honest(bars, start, end)
    begun = pl.col("open_time").min().over("instrument")
    young = (begun > pl.col("open_time").min()) & (pl.col("open_time") < begun + 4 * Timeframe.M15.delta)
    return rows.with_columns(lr_1=pl.when(young).then(following()).otherwise("lr_1"))


def remembering(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
    """A module that keeps the next bar of every row that it has ever seen, and gives it back."""
    rows = honest(bars, start, end).with_columns(next=following())
    for name, opened, value in rows.select("instrument", "open_time", "next").iter_rows():
        if _remembered.get((name, opened)) is None:
            _remembered[name, opened] = value
    keys = rows.select("instrument", "open_time").rows()
    return rows.drop("next").with_columns(lr_4=pl.Series([_remembered[key] for key in keys], dtype=pl.Float64))
