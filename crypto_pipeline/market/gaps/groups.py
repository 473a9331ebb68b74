"""Rows of the ledger grouped for a person: one outage of many instruments and timeframes is one line."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe

#: States that wait for their bars, then those that are given up, come before what is explained.
_ORDER = {"unasked": 0, "lost": 0, "pending": 1, "unproven": 2, "unfillable": 3}
_NEAR = pl.duration(minutes=5)


def gap_groups(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per state and time: rows of one state whose spans overlap or nearly touch are one group.

    ``rows`` needs ``gap_id``, ``instrument``, ``timeframe``, ``state``, ``start``, ``end`` (UTC), ``bars``,
    ``next_attempt`` and ``evidence`` (JSON). Columns of the answer: ``state``, ``start``, ``end``, ``bars`` (sum over
    all series), ``timeframes`` and ``instruments`` (lists), ``gaps`` (how many rows), ``gap_id`` (the first),
    ``next_attempt`` (the soonest) and ``because`` (of the widest row). Unexplained ones come first, then the oldest.
    """
    because = pl.col("evidence").str.json_path_match("$.because").fill_null("")
    width = pl.col("timeframe").cast(pl.Enum([str(one) for one in Timeframe]))
    reach = pl.col("end").cum_max().shift(1).over("state") + _NEAR
    return (
        rows.sort("state", "start", "end")
        .with_columns(because.alias("because"), width.alias("width"), (pl.col("start") > reach).alias("apart"))
        .with_columns(pl.col("apart").fill_null(False).cum_sum().over("state").alias("group"))
        .group_by("state", "group", maintain_order=True)
        .agg(
            pl.col("start").min(),
            pl.col("end").max(),
            pl.col("bars").sum(),
            pl.col("width").unique().sort().cast(pl.String).alias("timeframes"),
            pl.col("instrument").unique().sort().alias("instruments"),
            pl.len().alias("gaps"),
            pl.col("gap_id").min(),
            pl.col("next_attempt").min(),
            pl.col("because").sort_by(pl.col("end") - pl.col("start")).last(),
        )
        .sort(pl.col("state").replace_strict(_ORDER, default=4, return_dtype=pl.Int32), "start")
        .drop("group")
    )
