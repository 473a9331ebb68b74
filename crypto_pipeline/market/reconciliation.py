"""Reconciliation: two statements about the same bars, compared bar by bar.

A gap detector finds absent bars; only a second statement shows wrong ones. Prices must agree bit for bit, because both
sides took them from the same trades; volumes to a tolerance, because sums of floats depend on their order.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl

_PRICES = ("open", "high", "low", "close")
_VALUES = (*_PRICES, "volume")


class Disagreement(StrEnum):
    """How two statements about one bar differ."""

    PRICE = "price"
    VOLUME = "volume"
    PRICE_AND_VOLUME = "price_and_volume"
    ONLY_OURS = "only_ours"
    ONLY_THEIRS = "only_theirs"


def compare_bars(ours: pl.DataFrame, theirs: pl.DataFrame, volume_rtol: float = 1e-9) -> pl.DataFrame:
    """The bars of one timeframe on which the two frames disagree.

    Columns: ``instrument`` (if the frames have it), ``open_time``, ``kind`` (see Disagreement), ``columns`` (the names
    that differ), ``ours`` and ``theirs`` (structs of open, high, low, close, volume; null where that side has no bar).
    Bars that are not complete are left out. Cut both frames to one span first: a bar that only one side has is a
    disagreement too.
    """
    key: list[str] = [name for name in ("instrument", "open_time") if name in ours.columns]
    left, right = (_side(frame, key, name) for frame, name in ((ours, "ours"), (theirs, "theirs")))
    both = left.join(right, on=key, how="full", coalesce=True, nulls_equal=True, validate="1:1")
    differing = [pl.when(_differs(name, volume_rtol)).then(pl.lit(name)) for name in _VALUES]
    # A comparable bar missing on one side counts; an incomplete one is there, so nothing is missing.
    compared = both.filter(
        pl.col("ours_complete").fill_null(value=True) & pl.col("theirs_complete").fill_null(value=True)
    )
    found = compared.with_columns(
        pl.concat_list(differing).list.drop_nulls().alias("columns"), _kind().alias("kind")
    ).filter(
        pl.col("kind").is_in([Disagreement.ONLY_OURS, Disagreement.ONLY_THEIRS]) | (pl.col("columns").list.len() > 0)
    )
    return found.select(*key, _settle_kind(), "columns", "ours", "theirs").sort(key)


def _side(frame: pl.DataFrame, key: list[str], name: str) -> pl.DataFrame:
    if missing := [column for column in (*key, *_VALUES) if column not in frame.columns]:
        raise ValueError(f"the bars of {name} lack the column {', '.join(missing)}")
    complete = pl.col("complete") if "complete" in frame.columns else pl.lit(value=True)
    values = pl.struct([pl.col(column).cast(pl.Float64) for column in _VALUES])
    return frame.select(*key, values.alias(name), complete.alias(f"{name}_complete"))


def _differs(name: str, volume_rtol: float) -> pl.Expr:
    """True where both sides state ``name`` differently. A null on one side differs from a value."""
    ours, theirs = pl.col("ours").struct.field(name), pl.col("theirs").struct.field(name)
    if name != "volume":
        return ours.ne_missing(theirs)
    tolerance = volume_rtol * pl.max_horizontal(ours.abs(), theirs.abs())
    near = ((ours - theirs).abs() <= tolerance).fill_null(value=False)
    return ours.ne_missing(theirs) & ~near


def _kind() -> pl.Expr:
    return (
        pl.when(pl.col("theirs_complete").is_null())
        .then(pl.lit(str(Disagreement.ONLY_OURS)))
        .when(pl.col("ours_complete").is_null())
        .then(pl.lit(str(Disagreement.ONLY_THEIRS)))
    )


def _settle_kind() -> pl.Expr:
    """The kind, now that the differing columns are known."""
    volume = pl.col("columns").list.contains("volume")
    return (
        pl.when(pl.col("kind").is_not_null())
        .then("kind")
        .when(~volume)
        .then(pl.lit(str(Disagreement.PRICE)))
        .when(pl.col("columns").list.len() > 1)
        .then(pl.lit(str(Disagreement.PRICE_AND_VOLUME)))
        .otherwise(pl.lit(str(Disagreement.VOLUME)))
        .alias("kind")
    )
