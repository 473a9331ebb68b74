"""Uniqueness: how much of a label is its own, where labels of one instrument, or of the market, overlap in time."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Ints


def uniqueness(entry: Ints, bars: Ints, width: int) -> Floats:
    """Mean over a label's bars of 1 / (labels alive in the bar), in (0, 1]; 1 where it is alone.

    A label is alive in ``bars`` bars from row ``entry`` (ascending) on; ``width`` rows are one instrument. All labels
    given count: those of one strategy and parameter set, with every neighbour that overlaps.
    """
    from crypto_pipeline.labels.kernels import overlaps  # late: numba takes half a second to import

    shares = np.zeros(len(entry))
    overlaps(entry, bars, width, np.zeros(width + 1, np.int64), shares)
    return shares


def market_uniqueness(entry: Ints, bars: Ints) -> Floats:
    """Mean over a label's bars of 1 / (labels of *any* instrument alive in the bar), in (0, 1].

    Setups cluster across the market: twenty instruments that fall in one hour are nearly one event. ``entry``: numbers
    of 15m bars since any moment, in any order; ``bars``: how many each label lives. All labels given count. The value
    of a label depends on those alone that overlap it, to the last bit.
    """
    if not len(entry):
        return np.zeros(0)
    # One axis of time for all of them: to the loop that is a single instrument.
    first = entry.min()
    return uniqueness(entry - first, bars, int((entry + bars).max() - first) + 1)
