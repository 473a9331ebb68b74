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

from crypto_pipeline.features.compute import FEATURES, LOOK_BACK, STATES, Bars, Compute
from crypto_pipeline.features.definitions.feature import Feature
from crypto_pipeline.features.fresh_process import in_fresh_process
from crypto_pipeline.market.timeframes import Timeframe

#: Differences up to these, in standard deviations of the feature, are rounding.
LEAK_TOLERANCE = 1e-7
WARM_UP_TOLERANCE = 1e-6
PARITY_TOLERANCE = 1e-6

#: What names a row; everything else is compared.
KEYS = ("instrument", "open_time")
#: What a comparison found: the column, how many cells differ, the worst in deviations (null: a value against a null, or
#: a column that has none), and the first of them.
FINDING_SCHEMA: dict[str, pl.DataType] = {
    "feature": pl.String(),
    "cells": pl.Int64(),
    "worst": pl.Float64(),
    "instrument": pl.String(),
    "open_time": pl.Datetime("ms", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Proof:
    """The extent and the findings of one check; it passed if there are no ``findings``. ``columns``: those compared."""

    cells: int
    cuts: int
    findings: pl.DataFrame
    columns: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """There are no findings."""
        return self.findings.is_empty()


def leak_check(
    bars: Bars,
    compute: Compute,
    start: datetime,
    end: datetime,
    *,
    cuts: int = 12,
    seed: int = 0,
    fresh: bool = False,
) -> Proof:
    """Compute rows ``[start, end)`` again with the bars cut at chosen times and compare every cell up to each cut.

    A cut at T leaves the bars that had closed at T; where the cuts lie, ``cut_times`` says. A difference above
    LEAK_TOLERANCE deviations (of what is no Float64: any), or a null against a value, is a leak: the row knew something
    that came later. With ``fresh`` the cuts are computed in a process of their own, the earliest first: it has never
    seen what came later, so what a module remembers shows as well. ``compute`` must then be picklable.

    Raises FreshProcessError when that process fails.
    """
    whole = compute(bars, start, end)
    if whole.is_empty():
        return Proof(0, 0, _nothing_found())
    moments = cut_times(bars[Timeframe.M15], start, end, cuts, seed)
    if fresh:
        cells, findings = in_fresh_process(compare_cuts, compute, bars, whole, start, end, moments)
    else:
        cells, findings = compare_cuts(compute, bars, whole, start, end, moments)
    return Proof(cells, len(moments), findings, tuple(spreads(whole)))


def compare_cuts(
    compute: Compute, bars: Bars, whole: pl.DataFrame, start: datetime, end: datetime, moments: Sequence[datetime]
) -> tuple[int, pl.DataFrame]:
    """How many cells were compared, and where ``whole`` differs from rows computed from bars cut at each moment."""
    spread = spreads(whole)
    findings, cells = [_nothing_found()], 0
    for moment in moments:
        part = whole.filter(pl.col("available_at") <= moment)
        again = compute(closed_by(bars, moment), start, min(end, moment))
        findings.append(compare(part, again.filter(pl.col("available_at") <= moment), spread, LEAK_TOLERANCE))
        cells += part.height * len(spread)
    return cells, summed(findings)


def cut_times(bars: pl.DataFrame, start: datetime, end: datetime, cuts: int, seed: int) -> list[datetime]:
    """At most ``cuts`` closes of 15m ``bars`` (``instrument``, ``open_time``) that open in ``[start, end)``, ascending.

    A leak in some rows only shows at the close of one of them, so every kind of row has its turn, before the rest is
    random: the first rows (the warm-up), those that open at midnight, at 4h or at the full hour, or close there, the
    first after a gap, and the first of an instrument that begins later than the others. Four more cuts go through the
    96 slots of a day, so that in 24 consecutive ``seed`` values each has been one.
    """
    shown = bars.select("instrument", "open_time").filter(pl.col("open_time").is_between(start, end, closed="left"))
    times = shown["open_time"].unique().sort()
    if times.is_empty():
        return []
    minute = times.dt.hour().cast(pl.Int32) * 60 + times.dt.minute().cast(pl.Int32)
    gap = pl.col("open_time").diff().over("instrument") > Timeframe.M15.delta
    first = pl.col("open_time").min().over("instrument")
    late = (first > times[0]) & (pl.col("open_time") < first + 4 * Timeframe.M15.delta)
    begins = shown.sort("instrument", "open_time").select("open_time", gap=gap.fill_null(value=False), late=late)
    slots = [(4 * seed + number) % 96 * 15 for number in range(4)]
    kinds = [
        times.head(max(1, min(len(times) // 4, 60))),
        times.filter(minute == 0),
        times.filter((minute % 60 == 0) & (minute != 0)),
        begins.filter("gap")["open_time"],
        begins.filter("late")["open_time"],
        times.filter(minute % 240 == 225),
        times.filter(minute % 60 == 45),
        times.filter(minute % 240 == 0),
        *(times.filter(minute == slot) for slot in slots),
    ]
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in kinds if len(kind)][:cuts]
    chosen = {kind[int(rng.integers(len(kind)))] for kind in kinds}
    chosen |= {times[int(place)] for place in rng.integers(0, len(times), max(0, cuts - len(kinds)))}
    return [opened + Timeframe.M15.delta for opened in sorted(chosen)]


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
    features: Sequence[Feature] = (*FEATURES, *STATES),
    *,
    times: Iterable[int] = (1, 2, 4),
) -> Proof:
    """Compute the last row before ``end`` from 1, 2 and 4 times the declared warm-up and compare with all bars.

    Features of the same warm-up are looked at together. A feature that needs more bars than it declares differs, or is
    null. Every column, declared or not, is also computed from no more than LOOK_BACK, which is what is read for it.
    """
    last = bars[Timeframe.M15]["open_time"].max()
    if not isinstance(last, datetime):
        return Proof(0, 0, _nothing_found())
    last = min(last, Timeframe.M15.floor(end) - Timeframe.M15.delta)
    until = last + Timeframe.M15.delta
    closed = closed_by(bars, until)
    history = compute(closed, until - timedelta(days=30), until)
    spread = spreads(history)
    truth = history.filter(pl.col("open_time") == last)
    begins = {timeframe: frame["open_time"].min() for timeframe, frame in closed.items()}
    findings, cells, cuts = [_nothing_found()], 0, 0
    groups: dict[tuple[Timeframe, int], list[str]] = {}
    for feature in features:
        groups.setdefault((feature.timeframe, feature.warm_up), []).append(feature.name)
    every = {timeframe: Timeframe.D1.floor(last) - timedelta(days=days) for timeframe, days in LOOK_BACK.items()}
    tried: list[tuple[dict[Timeframe, datetime], list[str]]] = [(every, list(spread))]
    for (timeframe, warm_up), names in groups.items():
        newest = timeframe.floor(until) - timeframe.delta
        for factor in times:
            since, begin = newest - timeframe.delta * (warm_up * factor - 1), begins[timeframe]
            if isinstance(begin, datetime) and since >= begin:  # else there is no longer history to compare with
                tried.append(({timeframe: since}, names))
    for cut, names in tried:
        again = compute(closed_by(closed, until, cut), last, until)
        chosen = {name: spread[name] for name in names if name in spread}
        findings.append(compare(truth, again, chosen, WARM_UP_TOLERANCE))
        cells += truth.height * len(chosen)
        cuts += 1
    return Proof(cells, cuts, summed(findings), tuple(spread))


def spreads(rows: pl.DataFrame) -> dict[str, float | None]:
    """Standard deviation of every Float64 column but the keys; that of one that never moves is its size, or 1.

    None for columns of other types: they have no deviations, and are equal or not.
    """
    result: dict[str, float | None] = {}
    for name, dtype in rows.schema.items():
        if name in KEYS:
            continue
        if dtype != pl.Float64:
            result[name] = None
            continue
        deviation, size = rows[name].std(), rows[name].abs().max()
        spread = deviation if isinstance(deviation, float) and deviation > 0 and math.isfinite(deviation) else None
        result[name] = spread or (float(size) if isinstance(size, float) and size > 0 else 1.0)
    return result


def compare(
    ours: pl.DataFrame, theirs: pl.DataFrame, spread: Mapping[str, float | None], tolerance: float
) -> pl.DataFrame:
    """Cells of ``ours`` that differ from ``theirs`` (rows matched by key), in FINDING_SCHEMA, one row a column.

    ``spread`` names the columns: a Float64 may differ by ``tolerance`` times its spread, another (None) not at all. A
    row that only one of the two has counts as a difference of every column that has a value in it.
    """
    if not ours.select(KEYS).equals(theirs.select(KEYS)):
        both = pl.concat([ours.select(KEYS), theirs.select(KEYS)]).unique().sort(KEYS)
        ours = both.join(ours, on=KEYS, how="left", maintain_order="left")
        theirs = both.join(theirs, on=KEYS, how="left", maintain_order="left")
    rows = []
    for name, deviation in spread.items():
        a, b = ours[name], theirs[name]
        apart = a.is_null() != b.is_null()
        bad, distance = apart, None
        if deviation is None:
            bad = apart | a.ne_missing(b.cast(a.dtype))
        else:
            distance = (a - b).abs() / deviation
            beyond, unknown = (distance > tolerance).fill_null(value=False), a.is_nan() != b.is_nan()
            bad = apart | beyond | unknown.fill_null(value=False)
        if not bad.any():
            continue
        first = int(bad.arg_true()[0])
        worst = None if distance is None or apart.any() else distance.filter(bad).max()
        rows.append((name, int(bad.sum()), worst, ours["instrument"][first], ours["open_time"][first]))
    return pl.DataFrame(rows, schema=FINDING_SCHEMA, orient="row")


def summed(findings: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Findings of several comparisons, one row a feature, the most cells first."""
    return (
        pl.concat(findings)
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
