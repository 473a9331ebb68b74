"""Spacing: which of many candidates become setups, so that setups of one instrument keep a distance."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.panel import Flags, Ints
from crypto_pipeline.labels.strategies.base import DAY, WEEK

#: The first Monday after 1970-01-01, in 15m bars since then.
_MONDAY = 4 * DAY


def spaced(bars: Ints, spacing: int) -> Flags:
    """Which candidates become setups, so that every setup is at least ``spacing`` bars after the setup before it.

    ``bars`` (ascending) are numbers of 15m bars since 1970. A candidate with no other in the ``spacing`` bars before it
    begins a run and is a setup; of the rest of the run each one is that comes ``spacing`` bars or more after the setup
    before it. So that the answer depends on a bounded stretch of the past (see ``reach``), a run that is older than a
    week when a week begins (Monday 00:00 UTC) is counted anew from there: the first setup of that week comes
    ``spacing`` bars or more after the last candidate of the week before.
    """
    from crypto_pipeline.labels.kernels import chain  # late: numba takes half a second to import

    chosen = np.zeros(len(bars), np.bool_)
    begins = (bars - _MONDAY) // WEEK * WEEK + _MONDAY
    chain(bars, begins, WEEK, spacing, chosen)
    return chosen


def reach(spacing: int) -> int:
    """How many bars before a candidate other candidates can decide whether it becomes a setup."""
    return 2 * WEEK + spacing
