"""How sure a mean is whose rows come in days: days are resampled, not rows, because setups of a day share their fate.

Every function is seeded and gives the same answer to the same rows in any order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from crypto_pipeline.arrays.panel import Floats

RESAMPLES = 2_000
_AT_ONCE = 200


class Interval(NamedTuple):
    """A mean with the bounds of its interval; NaN without rows, and bounds of NaN with fewer than two days."""

    mean: float
    low: float
    high: float


def mean_interval(values: Floats, day: npt.NDArray[Any], seed: int, *, level: float = 0.95) -> Interval:
    """Mean of ``values`` and its interval of ``level``, from the quantiles of the means of resampled days."""
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    means = resampled_means(values, day, seed)
    if not len(means):
        return Interval(float(values.mean()), math.nan, math.nan)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def share_below_zero(values: Floats, day: npt.NDArray[Any], seed: int) -> float:
    """Share of resampled means that lie below 0: how likely the true mean does. NaN with fewer than two days."""
    means = resampled_means(values, day, seed)
    return float((means < 0).mean()) if len(means) else math.nan


def share_higher(ours: Floats, theirs: Floats, day: npt.NDArray[Any], seed: int) -> float:
    """Share of draws of days in which the mean of ``ours`` is above that of ``theirs``; rows of NaN have no value.

    The same days are drawn for both. NaN where either has no value, or with fewer than two days.
    """
    if np.isnan(ours).all() or np.isnan(theirs).all():
        return math.nan
    apart = resampled_means(ours, day, seed) - resampled_means(theirs, day, seed)
    there = apart[~np.isnan(apart)]
    return float((there > 0).mean()) if len(there) else math.nan


def resampled_means(values: Floats, day: npt.NDArray[Any], seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means of ``resamples`` draws of as many days as there are, with replacement; empty with fewer than two days.

    A row of NaN has a day but no value; a draw without any value has a mean of NaN.
    """
    days, place = np.unique(day, return_inverse=True)
    if len(days) < 2:
        return np.zeros(0)
    order = np.lexsort((values, place))  # sums do not depend on the order of rows
    there = order[~np.isnan(values[order])]
    sums = np.bincount(place[there], values[there], len(days))
    counts = np.bincount(place[there], minlength=len(days)).astype(np.float64)
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(0, resamples, _AT_ONCE):
        drawn = rng.integers(0, len(days), (_AT_ONCE, len(days)))
        with np.errstate(invalid="ignore"):
            parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)[:resamples]
