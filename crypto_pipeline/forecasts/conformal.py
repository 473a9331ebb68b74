"""Intervals from the errors of earlier forecasts: empirical quantiles with adaptive conformal correction.

For every step ahead the errors of the newest origins whose target is known give the quantiles, by the ranks of split
conformal prediction (Lei et al. 2018). How far out they are taken is corrected by what happened: where more targets
than promised lay outside, the interval widens (adaptive conformal inference, Gibbs and Candès 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, Walk
from crypto_pipeline.forecasts.timeline import Floats, Ints

#: The quantiles that a forecast states, ascending: the 95 % interval, in it the 80 % interval, in it the median.
QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
#: Coverage that each interval promises, and the places of its ends in QUANTILES.
COVERAGES = {0.80: (1, 3), 0.95: (0, 4)}
_PROMISED = np.array([1 - each for each in COVERAGES])
#: Bounds of the share that is left outside, as a multiple of what is promised.
_NARROWEST, _WIDEST = 2.0, 0.02


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a walk over the origins found.

    Attributes:
        offsets: Of every quantile from the path after the last origin, shape (series, steps, quantiles); NaN for a
            step with fewer errors than LEAST_ORIGINS.
        outside: Share of targets that each interval leaves outside by its ranks, shape (series, steps, coverages).
        used: Number of errors behind the offsets, shape (series, steps).
        walked: Offsets that every walked origin had, shape (walked recalibrations, series, steps, quantiles).
        recalibration: For every origin the recalibration whose offsets it had, shape (origins,); -1 before the first.
    """

    offsets: Floats
    outside: Floats
    used: Ints
    walked: Floats
    recalibration: Ints


def known_errors(targets: Ints, origins: Ints, row: int) -> Ints:
    """How many origins have a known target at ``row``, by step. ``targets``: rows, (origins, steps), ascending."""
    reachable = np.where(targets < 0, np.iinfo(np.int64).max, targets)
    return np.array([np.searchsorted(reachable[:, step], row, side="right") for step in range(targets.shape[1])])


def calibrate(errors: Floats, origins: Ints, targets: Ints, walk: Walk) -> Calibrated:
    """Walk over the origins, and determine the offsets anew after every ``walk.every`` of them and after the last.

    ``errors``: target minus path, (series, origins, steps), NaN where either is absent; ``origins``: rows of the
    closes; ``targets``: rows of their targets, (origins, steps), -1 where it is still to come. No offset rests on a
    target after its own row.
    """
    series, count, steps = errors.shape
    outside = np.broadcast_to(_PROMISED, (series, steps, len(_PROMISED))).copy()
    recalibration = np.full(count, -1, np.int64)
    walked: list[Floats] = []
    before = np.zeros(steps, np.int64)
    stops = [*range(0, count, walk.every), count]
    offsets, used = np.full((series, steps, len(QUANTILES)), np.nan), np.zeros((series, steps), np.int64)
    for stop, following in zip(stops, [*stops[1:], count], strict=True):
        row = int(origins[stop] if stop < count else origins[-1]) if count else 0
        known = known_errors(targets, origins, row)
        if walked:
            outside = _corrected(outside, errors, walked, recalibration, before, known, walk)
        before = known
        if known.min(initial=count) < LEAST_ORIGINS and not walked:
            continue
        offsets, used = _offsets(errors, known, walk.window, outside)
        walked.append(offsets)
        recalibration[stop:following] = len(walked) - 1
    shape = (0, series, steps, len(QUANTILES))
    return Calibrated(offsets, outside, used, np.array(walked) if walked else np.empty(shape), recalibration)


def _offsets(errors: Floats, known: Ints, window: int, outside: Floats) -> tuple[Floats, Ints]:
    """Offsets of the quantiles, (series, steps, quantiles), and the errors they rest on, (series, steps)."""
    series, _, steps = errors.shape
    recent = np.full((series, steps, window), np.nan)
    for step, end in enumerate(known):
        part = errors[:, max(0, end - window) : end, step]
        recent[:, step, : part.shape[1]] = part
    recent.sort(axis=2)
    used = np.count_nonzero(~np.isnan(recent), axis=2)
    found = np.zeros((series, steps, len(QUANTILES)))
    for place, (low, high) in enumerate(COVERAGES.values()):
        tail = outside[:, :, place] / 2
        rank = np.floor((used + 1) * tail).astype(np.int64)
        lower = np.clip(rank, 1, np.maximum(used, 1)) - 1
        upper = np.maximum(used, 1) - 1 - lower
        found[:, :, low] = np.take_along_axis(recent, lower[:, :, None], axis=2)[:, :, 0]
        found[:, :, high] = np.take_along_axis(recent, upper[:, :, None], axis=2)[:, :, 0]
    found[used < LEAST_ORIGINS] = np.nan
    # the wider interval holds the narrower one, and both hold the path
    found[:, :, 1] = np.minimum(found[:, :, 1], 0.0)
    found[:, :, 3] = np.maximum(found[:, :, 3], 0.0)
    found[:, :, 0] = np.minimum(found[:, :, 0], found[:, :, 1])
    found[:, :, 4] = np.maximum(found[:, :, 4], found[:, :, 3])
    return found, used


def _corrected(
    outside: Floats, errors: Floats, walked: list[Floats], recalibration: Ints, before: Ints, known: Ints, walk: Walk
) -> Floats:
    """The shares after the targets that became known since the last recalibration."""
    moved = outside.copy()
    for step, (first, end) in enumerate(zip(before, known, strict=True)):
        judged = np.arange(first, end)
        judged = judged[recalibration[first:end] >= 0]
        if not len(judged):
            continue
        had = np.array([walked[each][:, step] for each in recalibration[judged]])
        seen = errors[:, judged, step].T
        for place, (low, high) in enumerate(COVERAGES.values()):
            missed = (seen < had[:, :, low]) | (seen > had[:, :, high])
            counted = ~np.isnan(seen) & ~np.isnan(had[:, :, low])
            share = missed.sum(axis=0, where=counted) / np.maximum(counted.sum(axis=0), 1)
            weight = walk.rate * counted.sum(axis=0) / walk.every
            moved[:, step, place] += weight * (_PROMISED[place] - share)
    return np.clip(moved, _WIDEST * _PROMISED, _NARROWEST * _PROMISED)
