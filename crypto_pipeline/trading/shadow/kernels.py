"""Compiled loop of the stationary bootstrap. Import this late: numba takes half a second to import."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.compiled import compiled
from crypto_pipeline.arrays.panel import Flags, Floats, Ints


@compiled
def resampled_statistics(values: Floats, starts: Ints, begins: Flags, statistics: Floats) -> None:
    """Fill ``statistics`` (resamples x columns): the mean of each column over one resample, studentised by its blocks.

    ``values``: days x columns, each column of mean 0. ``starts`` and ``begins`` (resamples x days): the day at which a
    block begins, and whether one does; a block goes on from the last day to the first.
    """
    days, columns = values.shape
    block, squares, weighted, total = np.empty(columns), np.empty(columns), np.empty(columns), np.empty(columns)
    for resample in range(len(starts)):
        block[:], squares[:], weighted[:], total[:] = 0.0, 0.0, 0.0, 0.0
        length, lengths, day = 0, 0.0, 0
        for step in range(days):
            if step == 0 or begins[resample, step]:
                _close(block, length, squares, weighted)
                lengths += length * length
                length, day = 0, starts[resample, step]
            length += 1
            for column in range(columns):
                block[column] += values[day, column]
                total[column] += values[day, column]
            day = day + 1 if day + 1 < days else 0
        _close(block, length, squares, weighted)
        lengths += length * length
        for column in range(columns):
            mean = total[column] / days
            variance = squares[column] - 2 * mean * weighted[column] + mean * mean * lengths
            statistics[resample, column] = mean * days / np.sqrt(variance) if variance > 0 else 0.0


@compiled
def _close(block: Floats, length: int, squares: Floats, weighted: Floats) -> None:
    """Add a finished block to the sums of squares, and of block times length; empty it."""
    for column in range(len(block)):
        squares[column] += block[column] * block[column]
        weighted[column] += block[column] * length
        block[column] = 0.0
