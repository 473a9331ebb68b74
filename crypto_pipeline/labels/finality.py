"""When a label is final: its horizon is over, and every bar it rests on is there or known never to come.

An early touch does not make a label final: labels that were told at their touch would be the quick ones only.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.labels.grid import STEP, Flags, Grid, Ints
from crypto_pipeline.labels.setups import DAY


def accounted(grid: Grid, explained: pl.DataFrame) -> Flags:
    """Per bar of the grid: present, or in one of the spans (``start``, ``end``) whose reason the ledger knows."""
    known: Flags = ~np.isnan(grid.close)
    for start, end in explained.select(pl.col("start", "end").to_physical()).iter_rows():
        known[max(0, -((grid.begin - start) // STEP)) : max(0, -((grid.begin - end) // STEP))] = True
    return known


def final(grid: Grid, known: Flags, signal: Ints, horizon: int, now: datetime) -> Flags:
    """For each signal bar: whether its label may be told at ``now``.

    Needed: every bar from 24 hours before the signal's close to the end of the horizon is accounted for, and that end
    is past.
    """
    counted = np.concatenate(([0], np.cumsum(known)))
    first, end = np.maximum(signal + 1 - DAY, 0), signal + 1 + horizon
    inside = end <= len(grid)
    whole = counted[np.minimum(end, len(grid))] - counted[first] == end - first
    over = grid.times(end) <= int(now.timestamp() * 1000)
    ready: Flags = inside & whole & over
    return ready
