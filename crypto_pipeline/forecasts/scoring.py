"""How good quantiles were: pinball loss and coverage (Koenker and Bassett 1978; Gneiting and Raftery 2007)."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.forecasts.conformal import COVERAGES, QUANTILES
from crypto_pipeline.forecasts.timeline import Floats

_LEVELS = np.array(QUANTILES)


def pinball(seen: Floats, quantiles: Floats) -> Floats:
    """Mean pinball loss over QUANTILES, in the units of what was seen. NaN where either is absent.

    ``seen``: any shape; ``quantiles``: that shape with the quantiles as a last axis.
    """
    distance = seen[..., None] - quantiles
    loss: Floats = np.maximum(_LEVELS * distance, (_LEVELS - 1) * distance).mean(axis=-1)
    return loss


def covered(seen: Floats, quantiles: Floats) -> dict[float, np.ndarray]:
    """By promised coverage whether the interval held what was seen (its ends included); False where one is absent."""
    ends = {promised: (quantiles[..., low], quantiles[..., high]) for promised, (low, high) in COVERAGES.items()}
    return {promised: (seen >= low) & (seen <= high) for promised, (low, high) in ends.items()}


def block_interval(values: Floats, block: int, *, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    """The 95 % interval of the mean of ``values``, in their order of time, by resampling blocks (Künsch 1989).

    ``block``: neighbours that are not independent of each other. NaN without values.
    """
    count = len(values)
    if not count:
        return float("nan"), float("nan")
    length = min(block, count)
    blocks = -(-count // length)
    begins = np.random.default_rng(seed).integers(0, count - length + 1, (draws, blocks))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    means = (sums[begins + length] - sums[begins]).sum(axis=1) / (blocks * length)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
