"""Which candidate is published: naive, unless another one was better by more than chance explains.

The losses of one origin and the next are of overlapping targets, and so alike. They are averaged over blocks twice as
long as the horizon, and the mean difference of the blocks must be so many of its own standard errors below 0. On random
walks naive is kept in more than nine of ten series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crypto_pipeline.forecasts.paths import NAIVE
from crypto_pipeline.forecasts.timeline import Floats

#: Standard errors by which a candidate must be better than naive, and the blocks below which nothing is judged.
SURELY, LEAST_BLOCKS = 2.5, 8


@dataclass(frozen=True, slots=True)
class Choice:
    """What is published of one series and why.

    Attributes:
        model: The candidate.
        losses: Mean pinball loss of every candidate that could be judged, over the same origins.
        judged: How many origins that were.
        why: The reason, for people.
    """

    model: str
    losses: dict[str, float]
    judged: int
    why: str


def choose(losses: Mapping[str, Floats], block: int) -> Choice:
    """The choice for one series from the pinball loss of every origin by candidate, NaN where there is none.

    ``block``: origins that are one observation. ``losses`` has naive.
    """
    naive = losses[NAIVE]
    usable = {name: each for name, each in losses.items() if name == NAIVE or np.isfinite(each).any()}
    judged = np.logical_and.reduce([np.isfinite(each) for each in usable.values()])
    count = int(judged.sum())
    if not count:
        return Choice(NAIVE, {}, 0, "naive: no origin could be judged")
    means = {name: float(each[judged].mean()) for name, each in usable.items()}
    surely = {name: _standard_errors(each[judged] - naive[judged], block) for name, each in usable.items()}
    better = [name for name in usable if name != NAIVE and surely[name] <= -SURELY]
    if better:
        best = min(better, key=lambda name: means[name])
        gain = 100 * (1 - means[best] / means[NAIVE])
        return Choice(
            best, means, count, f"{best}: its pinball loss is {gain:.1f} % below that of naive over {count:,} origins"
        )
    if count < block * LEAST_BLOCKS:
        return Choice(NAIVE, means, count, f"naive: {count:,} origins are too few to judge another candidate")
    return Choice(NAIVE, means, count, f"naive: no candidate is surely better over {count:,} origins")


def _standard_errors(differences: Floats, block: int) -> float:
    """Mean of the differences in standard errors of the means of its blocks; inf where the blocks are too few."""
    blocks = len(differences) // block
    if blocks < LEAST_BLOCKS:
        return math.inf
    means = differences[len(differences) - blocks * block :].reshape(blocks, block).mean(axis=1)
    spread = float(means.std(ddof=1)) / math.sqrt(blocks)
    return float(means.mean()) / spread if spread > 0 else math.inf
