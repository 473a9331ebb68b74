"""What a feature is: its name, what it measures, how many bars it needs, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.arrays.rolling_loops import Floats
from crypto_pipeline.market.timeframes import Timeframe

#: Of the rows of a bounded window this share may be absent; beyond it the feature is null.
TOLERATED = 0.05


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of ``ml_features``, Float64, null where its input is missing or not warm.

    Attributes:
        name: Of the column.
        group: Features that are shown together.
        warm_up: Bars of ``timeframe``, the newest included, from which on the value no longer depends on where the
            series begins.
        text: What it measures, in a line.
        of: From the series of bars of its timeframe (``bar_series.BarSeries``); None: computed for the whole market.
        timeframe: Of the bars that it is computed from.
    """

    name: str
    group: str
    warm_up: int
    text: str
    of: Callable[[Any], Floats] | None = None
    timeframe: Timeframe = Timeframe.M15


def enough(n: int) -> int:
    """How many rows of a window of ``n`` must be present."""
    return n - int(n * TOLERATED)
