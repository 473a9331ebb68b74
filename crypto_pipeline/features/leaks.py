"""Proof that no feature looks ahead or depends on where the series was cut: leak, warm-up and parity.

All three compute features twice from different cuts of the same bars and compare cell by cell. The function that
computes is an argument, so anything of its form can be put to the test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.features.compute import FEATURES, Bars, Compute
from crypto_pipeline.features.registry import Feature
from crypto_pipeline.market.timeframes import Timeframe

#: Differences up to these, in standard deviations of the feature, are rounding.
LEAK_TOLERANCE = 1e-7
WARM_UP_TOLERANCE = 1e-6
PARITY_TOLERANCE = 1e-6

#: What a comparison found: the feature, how many cells differ, the worst in deviations (null: a value against a null),
#: and the first of them.
FINDING_SCHEMA: dict[str, pl.DataType] = {
    "feature": pl.String(),
    "cells": pl.Int64(),
    "worst": pl.Float64(),
    "instrument": pl.String(),
    "open_time": pl.Datetime("ms", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What a check looked at and found; it passed when there are no ``findings``."""

    cells: int
    cuts: int
    findings: pl.DataFrame

    @property
    def passed(self) -> bool:
        """Nothing was found."""
        return self.findings.is_empty()


def leak_check(bars: Bars, compute: Compute, start: datetime, end: datetime, *, cuts: int = 12, seed: int = 0) -> Proof:
    """Compute rows ``[start, end)`` again with the bars cut at random times and compare every cell up to each cut.

    A cut at T leaves the bars that had closed at T. One of the cuts lies inside the warm-up (within the first rows of
    the series), where values that were filled from later show. A difference above LEAK_TOLERANCE deviations, or a null
    against a value, is a leak: the row knew something that came later.
    """
    whole = compute(bars, start, end)
    if whole.is_empty():
        return Proof(0, 0, _nothing_found())
    spread = spreads(whole)
    times = whole["open_time"].unique().sort()
    found = [_nothing_found()]
    cells = 0
    moments = cut_times(times, cuts, seed)
    for moment in moments:
        part = whole.filter(pl.col("available_at") <= moment)
        again = compute(closed_by(bars, moment), start, min(end, moment))
        found.append(compare(part, again.filter(pl.col("available_at") <= moment), spread, LEAK_TOLERANCE))
        cells += part.height * len(spread)
    return Proof(cells, len(moments), summed(found))


def cut_times(times: pl.Series, cuts: int, seed: int) -> list[datetime]:
    """Random closes among open ``times`` (sorted, distinct), the first of them among the first rows (the warm-up)."""
    rng = np.random.default_rng(seed)
    early = max(1, min(len(times) // 4, 60))
    places = [int(rng.integers(0, early)), *rng.integers(0, len(times), max(0, cuts - 1)).tolist()]
    return [times[place] + Timeframe.M15.delta for place in sorted(set(places))]


def closed_by(bars: Bars, moment: datetime, since: Mapping[Timeframe, datetime] | None = None) -> Bars:
    """The bars that had closed at ``moment``, from ``since`` on."""
    cut = {}
    for timeframe, frame in bars.items():
        keep = pl.col("open_time") <= moment - timeframe.delta
        if since is not None and timeframe in since:
            keep &= pl.col("open_time") >= since[timeframe]
        cut[timeframe] = frame.filter(keep)
    return cut


def warm_up_check(
    bars: Bars,
    compute: Compute,
    end: datetime,
    features: Sequence[Feature] = FEATURES,
    *,
    times: Iterable[int] = (1, 2, 4),
) -> Proof:
    """Compute the last row before ``end`` from 1, 2 and 4 times the declared warm-up and compare with all bars.

    Features of the same warm-up are looked at together. A feature that needs more bars than it declares differs, or is
    null.
    """
    last = bars[Timeframe.M15]["open_time"].max()
    if not isinstance(last, datetime):
        return Proof(0, 0, _nothing_found())
    last = min(last, Timeframe.M15.floor(end) - Timeframe.M15.delta)
    until = last + Timeframe.M15.delta
    known = closed_by(bars, until)
    history = compute(known, until - timedelta(days=30), until)
    spread = spreads(history)
    truth = history.filter(pl.col("open_time") == last)
    begins = {timeframe: frame["open_time"].min() for timeframe, frame in known.items()}
    found, cells, cuts = [_nothing_found()], 0, 0
    groups: dict[tuple[Timeframe, int], list[str]] = {}
    for feature in features:
        groups.setdefault((feature.timeframe, feature.warm_up), []).append(feature.name)
    for (timeframe, warm_up), names in groups.items():
        for factor in times:
            newest = timeframe.floor(until) - timeframe.delta
            since = newest - timeframe.delta * (warm_up * factor - 1)
            begin = begins[timeframe]
            if not isinstance(begin, datetime) or since < begin:
                continue  # there is no longer history to compare with
            again = compute(closed_by(known, until, {timeframe: since}), last, until)
            chosen = {name: spread[name] for name in names if name in spread}
            found.append(compare(truth, again, chosen, WARM_UP_TOLERANCE))
            cells += truth.height * len(chosen)
            cuts += 1
    return Proof(cells, cuts, summed(found))


def spreads(rows: pl.DataFrame) -> dict[str, float]:
    """Standard deviation of every feature column; that of one that never moves counts as its size, or 1."""
    result: dict[str, float] = {}
    for name, dtype in rows.schema.items():
        if dtype != pl.Float64:
            continue
        deviation, size = rows[name].std(), rows[name].abs().max()
        spread = deviation if isinstance(deviation, float) and deviation > 0 and math.isfinite(deviation) else None
        result[name] = spread or (float(size) if isinstance(size, float) and size > 0 else 1.0)
    return result


def compare(ours: pl.DataFrame, theirs: pl.DataFrame, spread: Mapping[str, float], tolerance: float) -> pl.DataFrame:
    """Cells of ``ours`` that differ from ``theirs`` (rows matched by key), in FINDING_SCHEMA, one row a feature.

    A row that only one of the two has counts as a difference of every feature that has a value in it.
    """
    keys = ["instrument", "open_time"]
    aligned = ours.select(keys).equals(theirs.select(keys))
    if not aligned:
        both = pl.concat([ours.select(keys), theirs.select(keys)]).unique().sort(keys)
        ours = both.join(ours, on=keys, how="left", maintain_order="left")
        theirs = both.join(theirs, on=keys, how="left", maintain_order="left")
    rows = []
    for name, deviation in spread.items():
        a, b = ours[name], theirs[name]
        apart = a.is_null() != b.is_null()
        distance = (a - b).abs() / deviation
        bad = apart | (distance > tolerance).fill_null(value=False) | (a.is_nan() != b.is_nan()).fill_null(value=False)
        if not bad.any():
            continue
        first = int(bad.arg_true()[0])
        worst = None if apart.any() else distance.filter(bad).max()
        rows.append((name, int(bad.sum()), worst, ours["instrument"][first], ours["open_time"][first]))
    return pl.DataFrame(rows, schema=FINDING_SCHEMA, orient="row")


def summed(found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Findings of several comparisons, one row a feature, the most cells first."""
    return (
        pl.concat(found)
        .group_by("feature", maintain_order=True)
        .agg(
            pl.col("cells").sum(),
            pl.when(pl.col("worst").null_count() == 0).then(pl.col("worst").max()).alias("worst"),
            pl.col("instrument", "open_time").first(),
        )
        .sort("cells", descending=True)
    )


def _nothing_found() -> pl.DataFrame:
    return pl.DataFrame(schema=FINDING_SCHEMA)
