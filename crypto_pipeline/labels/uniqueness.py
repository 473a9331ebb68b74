"""Uniqueness: how much of a label is its own, where labels of one instrument overlap in time."""

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
