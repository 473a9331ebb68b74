"""Improbable bars without volume, which a working venue would hardly have stated.

A minute in which nothing traded is stated flat at the close before it. Filled holes look the same, but show in a price
that moved without a trade, in a silence that is too long for the instrument, or in one that all instruments share. The
limits were set on 83,938 recorded bars without volume of ten pairs on two venues. They doubt 74 of these: one outage,
and two bars beside a known fault of the venue.
"""

from __future__ import annotations

import math

import polars as pl

from crypto_pipeline.market.bars import UTC_MS

#: Silences come in clusters: the longest recorded ones are up to 4.5 times as long as minutes that do not depend on
#: each other would give. A silence is improbable when it is longer by more than this factor.
CLUSTERED = 5.0
#: No silence up to this is long: the longest of a pair that is silent in 73 % of its minutes lasts 58 minutes.
#: An instrument that is silent in less than 1 % of them was never silent for more than three minutes.
SHORTEST, SHORTEST_STEADY = 60, 10
STEADY = 0.01
#: Silence of all instruments for so many minutes is improbable when there are at least two, and one of them is rarely
#: silent: a pair that is silent in at most 5 % of its minutes never was for more than three.
TOGETHER, AT_LEAST, RARELY = 5, 2, 0.05

#: Columns of ``improbable``; a silence of ``minutes`` begins at ``open_time``.
OFFENDERS = {"instrument": pl.String(), "open_time": UTC_MS, "minutes": pl.Int64(), "reason": pl.String()}


def improbable(silent: pl.DataFrame, days: pl.DataFrame, activity: pl.DataFrame) -> pl.DataFrame:
    """Silences to be doubted, as OFFENDERS, sorted by time.

    ``silent`` has ``instrument``, ``open_time`` and ``flat`` of every 1m bar without volume, in order; ``flat`` is
    false where it is not flat at the close of the minute before. ``days`` has ``instrument``, ``day`` and ``present``,
    how many 1m bars are there; ``activity`` has ``open_time`` and ``instruments``, how many have a bar then.
    """
    if silent.is_empty():
        return pl.DataFrame(schema=OFFENDERS)
    habits = _habits(silent, days)
    return pl.concat([_moved(silent), _long(silent, habits), _together(silent, habits, activity)]).sort("open_time")


def longest_plausible(share: float, bars: int) -> float:
    """Minutes of the longest silence to be expected in ``bars`` minutes of which ``share`` are silent."""
    if share >= 1 or bars < 1:
        return math.inf
    shortest = SHORTEST if share >= STEADY else SHORTEST_STEADY
    if share <= 0:
        return shortest
    return max(shortest, CLUSTERED * math.log(max(bars * (1 - share), 1.0)) / -math.log(share))


def _habits(silent: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """``instrument``, ``bars``, ``share``: how often it is silent, in all or on the middle one of its days.

    The lesser of the two, so that neither an outage nor a filled month explains itself.
    """
    counted = silent.group_by("instrument", pl.col("open_time").dt.date().alias("day")).len("silent")
    shares = days.filter(pl.col("present") > 0).join(counted, on=["instrument", "day"], how="left")
    silent_bars = pl.col("silent").fill_null(0)
    middle = (silent_bars / pl.col("present")).clip(0, 1).median()
    share = pl.min_horizontal(middle, (silent_bars.sum() / pl.col("present").sum()).clip(0, 1))
    return shares.group_by("instrument").agg(pl.col("present").sum().alias("bars"), share.alias("share"))


def _moved(silent: pl.DataFrame) -> pl.DataFrame:
    return silent.filter(~pl.col("flat")).select(
        "instrument",
        "open_time",
        pl.lit(1, pl.Int64).alias("minutes"),
        pl.lit("without volume, yet not flat at the close before it").alias("reason"),
    )


def _runs(times: pl.DataFrame) -> pl.DataFrame:
    """Runs of minutes of each instrument: ``instrument``, ``open_time``, ``minutes``."""
    breaks = (pl.col("open_time").diff() != pl.duration(minutes=1)) | (
        pl.col("instrument") != pl.col("instrument").shift()
    )
    numbered = times.select("instrument", "open_time", breaks.fill_null(True).cum_sum().alias("run"))
    return numbered.group_by("run", maintain_order=True).agg(
        pl.col("instrument").first(), pl.col("open_time").first(), pl.len().cast(pl.Int64).alias("minutes")
    )


def _long(silent: pl.DataFrame, habits: pl.DataFrame) -> pl.DataFrame:
    longest = [float(longest_plausible(share, bars)) for share, bars in habits.select("share", "bars").iter_rows()]
    limits = habits.with_columns(pl.Series("limit", longest, dtype=pl.Float64))
    found = _runs(silent).join(limits, on="instrument").filter(pl.col("minutes") > pl.col("limit"))
    usual = (pl.col("share") * 100).round(1).cast(pl.String)
    reason = pl.format("silent for longer than an instrument silent in {} % of its minutes is", usual)
    return found.select("instrument", "open_time", "minutes", reason.alias("reason"))


def _together(silent: pl.DataFrame, habits: pl.DataFrame, activity: pl.DataFrame) -> pl.DataFrame:
    """Runs in which no instrument that has a bar traded; named by the one that is least often silent."""
    counted = (
        silent.join(habits.select("instrument", "share"), on="instrument")
        .sort("share")
        .group_by("open_time")
        .agg(pl.len().alias("silent"), pl.col("instrument").first(), pl.col("share").first())
    )
    alike = (
        counted.join(activity, on="open_time")
        .filter(
            (pl.col("silent") >= pl.col("instruments")) & (pl.col("silent") >= AT_LEAST) & (pl.col("share") <= RARELY)
        )
        .sort("open_time")
    )
    runs = _runs(alike.with_columns(pl.lit("").alias("instrument")))
    named = (
        runs.filter(pl.col("minutes") >= TOGETHER)
        .drop("instrument")
        .join(alike.select("open_time", "instrument", "silent"), on="open_time")
    )
    reason = pl.format("all {} instruments silent at once", pl.col("silent"))
    return named.select("instrument", "open_time", "minutes", reason.alias("reason"))
