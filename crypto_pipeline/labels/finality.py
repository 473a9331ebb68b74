"""When a label is final: its horizon is over, and every bar that it depends on is stored or explained.

An early touch does not make a label final: else the newest labels would only be those that ended quickly.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Ints, Panel
from crypto_pipeline.labels.strategies.base import DAY
from crypto_pipeline.market.times import unix_ms


def accounted(panel: Panel, explained: pl.DataFrame) -> Flags:
    """Per instrument and bar: present, or in a span (``instrument``, ``start``, ``end``) whose reason is known."""
    accounted_for: Flags = ~np.isnan(panel.close)
    numbers = {name: number for number, name in enumerate(panel.names)}
    spans = explained.select(pl.col("instrument").cast(pl.String), pl.col("start", "end").to_physical())
    for name, start, end in spans.iter_rows():
        first, until = (max(0, -((panel.grid.first - moment) // panel.grid.step)) for moment in (start, end))
        accounted_for[numbers[name], first:until] = True
    return accounted_for


def final(panel: Panel, accounted_for: Flags, numbers: Ints, signal: Ints, horizon: int, now: datetime) -> Flags:
    """For each signal (number of its instrument, place of its bar): whether its label may be stored at ``now``.

    Needed: every bar from 24 hours before the signal's close to the end of the horizon is accounted for, and that end
    is past.
    """
    counted = np.zeros((len(panel.names), panel.width + 1), np.int64)
    np.cumsum(accounted_for, axis=1, out=counted[:, 1:])
    first, end = np.maximum(signal + 1 - DAY, 0), signal + 1 + horizon
    inside = end <= panel.width
    whole = counted[numbers, np.minimum(end, panel.width)] - counted[numbers, first] == end - first
    over = panel.times(end) <= unix_ms(now)
    ready: Flags = inside & whole & over
    return ready
