"""Stored bars and the bar that is forming now, in one frame."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.reading.query import Question

_KEY = ["instrument", "open_time"]


def with_forming(stored: pl.DataFrame, forming: pl.DataFrame, asked: Question) -> pl.DataFrame:
    """``stored`` bars and the forming bars of the question's span that open after those of their instrument."""
    inside = pl.lit(True)
    if asked.start is not None:
        inside &= pl.col("open_time") >= asked.start
    if asked.end is not None:
        inside &= pl.col("open_time") < asked.end
    newest = stored.group_by("instrument").agg(pl.col("open_time").max().alias("stored"))
    later = pl.col("stored").is_null() | (pl.col("open_time") > pl.col("stored"))
    now = forming.filter(inside).join(newest, on="instrument", how="left").filter(later)
    both = pl.concat([stored, now.select(stored.columns)]).sort(_KEY)
    return both if asked.last is None else both.group_by("instrument", maintain_order=True).tail(asked.last)
