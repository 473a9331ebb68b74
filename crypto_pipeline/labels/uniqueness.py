"""Uniqueness: how much of a label is its own, where labels of one instrument overlap in time."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.labels.grid import Floats, Ints


def uniqueness(entry: Ints, bars: Ints) -> Floats:
    """Mean over a label's bars of 1 / (labels alive in the bar), in (0, 1]; 1 where it is alone.

    A label is alive in ``bars`` bars from row ``entry`` on. All labels given count: those of one instrument, strategy
    and parameter set, with every neighbour that overlaps.
    """
    if not len(entry):
        return np.zeros(0)
    first = int(entry.min())
    begin, end = entry - first, entry - first + bars
    steps = np.zeros(int(end.max()) + 1)
    np.add.at(steps, begin, 1.0)
    np.add.at(steps, end, -1.0)
    share = 1.0 / np.maximum(np.cumsum(steps), 1.0)
    # Every span is summed for itself, so that a weight does not depend on what else was computed along with it.
    edges = np.column_stack((begin, end)).ravel()
    sums: Floats = np.add.reduceat(share, edges)[::2]
    return sums / bars
