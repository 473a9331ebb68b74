"""Scans in numbers: by day, and which conditions are in the way."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.store import Store

#: Days whose conditions are counted.
RECENT = timedelta(days=7)


def scans_by_day(store: Store, start: datetime, end: datetime) -> pl.DataFrame:
    """``strategy``, ``day`` (UTC), ``scans``, ``takes`` and ``near_misses`` of bars that opened in ``[start, end)`` and
    whose scans are kept; sorted by strategy and day.
    """
    counts = store.trading.scans.counts(start, end).with_columns(pl.col("signal_ts").dt.date().alias("day"))
    return counts.group_by("strategy", "day").agg(pl.col("scans", "takes", "near_misses").sum()).sort("strategy", "day")


def conditions_in_the_way(store: Store, until: datetime) -> pl.DataFrame:
    """Per strategy and condition, over the counted days of the week before ``until`` (UTC): the ``share`` of judged
    scans in which it was not met, and in which it ``alone`` was not; the most often first.
    """
    conditions = store.trading.scans.conditions()
    days = store.trading.scans.days((until - RECENT).date(), until.date() + timedelta(days=1))
    rows = [
        (strategy, name, scans - unjudged, failures, near)
        for strategy, number, scans, unjudged, of_failures, of_near in days.select(
            "strategy", "condition_set", "scans", "unjudged", "failures", "near"
        ).iter_rows()
        for name, failures, near in zip(conditions[number].names, of_failures, of_near, strict=True)
    ]
    schema = {"strategy": pl.String, "condition": pl.String} | dict.fromkeys(("judged", "failures", "near"), pl.Int64)
    counted = pl.DataFrame(rows, schema=schema, orient="row").group_by("strategy", "condition").sum()
    shares = counted.filter(pl.col("judged") > 0).select(
        "strategy",
        "condition",
        (pl.col("failures") / pl.col("judged")).alias("share"),
        (pl.col("near") / pl.col("judged")).alias("alone"),
    )
    return shares.sort("strategy", "share", "condition", descending=[False, True, False])
