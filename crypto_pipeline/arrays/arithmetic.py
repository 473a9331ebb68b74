"""Arithmetic over series that every formula needs: a value of some rows before, and a quotient."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.rolling_loops import Floats


def lagged(x: Floats, n: int = 1) -> Floats:
    """``x`` of ``n`` places before on the last axis, NaN at the first ``n``."""
    moved = np.empty(x.shape)
    moved[..., :n] = np.nan
    moved[..., n:] = x[..., : max(x.shape[-1] - n, 0)]
    return moved


def ratio(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where ``whole`` is not above 0: nothing is there, or nothing moved."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = part / whole
    quotient[~(whole > 0)] = np.nan
    return quotient
