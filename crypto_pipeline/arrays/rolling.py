"""Compiled windows and recursions over series, from which indicators and features are made.

Every function takes an array of Float64 whose last axis is time (one series, or a row per series) and returns arrays of
the same shape. NaN is an absent row; whatever else goes in must be finite. A window is NaN while fewer than
``min_samples`` of its ``n`` rows are there (default: all; rows before the first count as absent); recursions are NaN on
absent rows and go on after them as if those were cut out.

Errors do not add up along a series: values that have left a window leave no trace in it (see ``rolling_loops``), and a
window of equal values has exactly that mean and a deviation of exactly 0.

Compiled by numba when first used (`prepare`), kept on disk where a folder can be written, and free of Python's lock.
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays import rolling_loops
from crypto_pipeline.arrays.compiled import Kernel
from crypto_pipeline.arrays.rolling_loops import Floats


def prepare() -> None:
    """Compile every kernel, or load it from disk: seconds once per installation, then milliseconds.

    Programs whose event loop must not wait call it before they begin.
    """
    for kernel in KERNELS:
        kernel.prepare()


def rolling_mean(x: Floats, n: int, min_samples: int | None = None) -> Floats:
    """Mean over ``n`` rows."""
    (mean,) = _run(_MEAN, (x,), 1, n, min_samples or n)
    return mean


def rolling_std(x: Floats, n: int, min_samples: int | None = None, *, ddof: int = 1) -> Floats:
    """Standard deviation over ``n`` rows, exactly 0 where all that are there are equal."""
    return rolling_moments(x, n, min_samples, ddof=ddof)[1]


def rolling_moments(x: Floats, n: int, min_samples: int | None = None, *, ddof: int = 1) -> tuple[Floats, Floats]:
    """Mean and standard deviation over ``n`` rows."""
    mean, deviation = _run(_MOMENTS, (x,), 2, n, min_samples or n, ddof)
    return mean, deviation


def rolling_comoments(x: Floats, y: Floats, n: int, min_samples: int | None = None) -> tuple[Floats, Floats, Floats]:
    """Sample variances of ``x`` and ``y`` and their covariance, over those of ``n`` rows in which both are there."""
    of_x, of_y, together = _run(_COMOMENTS, (x, y), 3, n, min_samples or n)
    return of_x, of_y, together


def rolling_max(x: Floats, n: int, min_samples: int | None = None) -> Floats:
    """Maximum over ``n`` rows."""
    (highest,) = _run(_EXTREME, (x,), 1, n, min_samples or n, 1)
    return highest


def rolling_min(x: Floats, n: int, min_samples: int | None = None) -> Floats:
    """Minimum over ``n`` rows."""
    (lowest,) = _run(_EXTREME, (x,), 1, n, min_samples or n, -1)
    return lowest


def rolling_line(y: Floats, n: int, min_samples: int | None = None) -> tuple[Floats, Floats, Floats]:
    """Least-squares line of ``y`` on the row number over ``n`` rows: slope, value at the last row, deviation of the
    residuals (population).

    Absent rows take no part, the others keep their place. NaN where the last row is absent and before the n-th row.
    """
    slope, end, sigma = _run(_LINE, (y,), 3, n, min_samples or n)
    return slope, end, sigma


def smoothed(x: Floats, alpha: float, n: int, *, mean_first: bool = False) -> Floats:
    """``s += alpha * (x - s)``, from the n-th value on; from the first value, or from the mean of the first ``n``."""
    (found,) = _run(_SMOOTHED, (x,), 1, n, int(mean_first), alpha)
    return found


def held(x: Floats) -> Floats:
    """The last value that is not absent, at every row; NaN before the first."""
    (found,) = _run(_HELD, (x,), 1)
    return found


def ranks(values: Floats) -> Floats:
    """Rank of every value (rows × members) within its row, from 1; ties share their mean. NaN takes no part."""
    (found,) = _run(_RANKS, (values,), 1)
    return found


def _run(kernel: Kernel, series: tuple[Floats, ...], outputs: int, *numbers: float) -> tuple[Floats, ...]:
    shape = series[0].shape
    flat = (1, *shape) if len(shape) == 1 else shape
    arrays = [np.ascontiguousarray(one, np.float64).reshape(flat) for one in series]
    filled = [np.empty(flat) for _ in range(outputs)]
    kernel(*arrays, *numbers, *filled)
    return tuple(one.reshape(shape) for one in filled)


_MEAN = Kernel(rolling_loops.mean, 1, 1)
_MOMENTS = Kernel(rolling_loops.moments, 1, 2, integers=3)
_COMOMENTS = Kernel(rolling_loops.comoments, 2, 3)
_EXTREME = Kernel(rolling_loops.extreme, 1, 1, integers=3)
_LINE = Kernel(rolling_loops.line, 1, 3)
_SMOOTHED = Kernel(rolling_loops.smoothed, 1, 1, floats=1)
_HELD = Kernel(rolling_loops.held, 1, 1, integers=0)
_RANKS = Kernel(rolling_loops.ranks, 1, 1, integers=0)
KERNELS = (_MEAN, _MOMENTS, _COMOMENTS, _EXTREME, _LINE, _SMOOTHED, _HELD, _RANKS)

__all__ = [
    "KERNELS",
    "Floats",
    "held",
    "prepare",
    "ranks",
    "rolling_comoments",
    "rolling_line",
    "rolling_max",
    "rolling_mean",
    "rolling_min",
    "rolling_moments",
    "rolling_std",
    "smoothed",
]

if __name__ == "__main__":
    prepare()
