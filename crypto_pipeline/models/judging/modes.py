"""What each mode of a strategy would have earned on matured predictions, and which of them is surely best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.decision import decide
from crypto_pipeline.models.judging.bootstrap import Interval, mean_interval, share_below_zero
from crypto_pipeline.settings import MlMode

#: Matured predictions from which on modes are compared, and how likely a mode must be the better one.
LEAST_MATURED, SURE = 100, 0.95
_SEED = 20


@dataclass(frozen=True, slots=True)
class ModeResult:
    """One mode on the same signals.

    Attributes:
        mode: off, boost or gate.
        trades: Signals that it would have taken.
        net: Net return per signal, as a fraction of the size of the rules; a signal that was not taken counts 0. With
            its 95 % interval by resampled days.
        better_than_off: How likely its net per signal is above that of the rules alone; NaN for these.
    """

    mode: MlMode
    trades: int
    net: Interval
    better_than_off: float


def compare_modes(matured: pl.DataFrame) -> list[ModeResult]:
    """Every mode on ``matured``: ``probability``, ``p_star``, ``net_return`` (fractions) and ``available_at`` (UTC)."""
    day = matured["available_at"].dt.date().to_numpy()
    sizes = {mode: _sizes(mode, matured) for mode in get_args(MlMode)}
    net = matured["net_return"].to_numpy()
    results = []
    for mode, size in sizes.items():
        apart = (size - sizes["off"]) * net
        better = math.nan if mode == "off" else 1 - share_below_zero(apart, day, _SEED) if apart.any() else 0.5
        results.append(ModeResult(mode, int((size > 0).sum()), mean_interval(size * net, day, _SEED), better))
    return results


def recommend(results: Sequence[ModeResult], matured: int, mode: MlMode) -> str:
    """A sentence for the person who chooses the mode, which is ``mode`` now."""
    if matured < LEAST_MATURED:
        return f"{matured} predictions have matured; modes are compared from {LEAST_MATURED} on"
    sure = [one for one in results if one.better_than_off >= SURE]
    best = max(sure, key=lambda one: one.net.mean, default=None)
    if best is None:
        return f"no mode is surely better than the rules alone; it is {mode} now"
    if best.mode == mode:
        return f"{mode}, which it is, is better than the rules alone with a probability of {best.better_than_off:.2f}"
    said = f"{best.mode} is better than the rules alone with a probability of {best.better_than_off:.2f}"
    return f"{said}: consider ml_mode = {best.mode} in place of {mode}"


def _sizes(mode: MlMode, matured: pl.DataFrame) -> Floats:
    """The size of each signal in this mode, relative to the rules'; 0 where it is not taken."""
    made = [decide(mode, *row) for row in matured.select("probability", "p_star").iter_rows()]
    return np.array([one.size_factor if one.decision == "take" else 0.0 for one in made], np.float64)
