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
