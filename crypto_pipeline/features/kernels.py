"""Windows and recursions over series, compiled: what indicators and features are made of.

Every function takes an array of Float64 whose last axis is time (one series, or a row per series) and returns arrays of
the same shape. NaN is an absent row; whatever else goes in must be finite. A window is NaN while fewer than
``min_samples`` of its ``n`` rows are there (default: all; rows before the first count as absent); recursions are NaN on
absent rows and go on after them as if those were cut out.

No error runs along a series: a window is put together from two pieces, the end of one block of ``n`` rows and the
beginning of the next, each summed for itself and relative to a value of its own. What has left a window leaves no trace
in it, and a window of equal values has exactly that mean and a deviation of exactly 0.

Compiled by numba when first used (`prepare`), kept on disk where a folder can be written, and free of Python's lock.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

log = logging.getLogger(__name__)


class Kernel:
    """A function that is compiled for one signature when it is first called.

    The last ``outputs`` arguments are arrays that it fills (2-D Float64), those before are 2-D arrays that it reads,
    after them come whole numbers (``integers``) and Float64 (``floats``).
    """

    def __init__(
        self, function: Callable[..., None], inputs: int, outputs: int, *, integers: int = 2, floats: int = 0
    ) -> None:
        self._function = function
        self._shape = (inputs, integers, floats, outputs)
        self._lock = Lock()
        self._compiled: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Run it. The arrays are C-ordered."""
        compiled = self._compiled or self.prepare()
        compiled(*arguments)

    def prepare(self) -> Callable[..., None]:
        """Compile it, or load what was compiled before."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled

    def _compile(self) -> Callable[..., None]:
        import numba  # late: half a second that whoever computes nothing need not wait

        inputs, integers, floats, outputs = self._shape
        read = numba.types.Array(numba.float64, 2, "C", readonly=True)
        written = numba.types.Array(numba.float64, 2, "C")
        signature = numba.void(
            *[read] * inputs, *[numba.int64] * integers, *[numba.float64] * floats, *[written] * outputs
        )
        try:
            compiled: Callable[..., None] = numba.njit(signature, nogil=True, cache=True)(self._function)
        except (RuntimeError, OSError) as error:
            # No folder that can be written, neither beside the code nor in the home: seconds at every start.
            log.info("compiled kernels are not kept: %s (set NUMBA_CACHE_DIR to a folder that can be written)", error)
            compiled = numba.njit(signature, nogil=True)(self._function)
        return compiled


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
    (highest,) = _run(_MAX, (x,), 1, n, min_samples or n)
    return highest


def rolling_min(x: Floats, n: int, min_samples: int | None = None) -> Floats:
    """Minimum over ``n`` rows."""
    (lowest,) = _run(_MIN, (x,), 1, n, min_samples or n)
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
    """The last value that was there, at every row; NaN before the first."""
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
    found = [np.empty(flat) for _ in range(outputs)]
    kernel(*arrays, *numbers, *found)
    return tuple(one.reshape(shape) for one in found)


def _mean(x: Floats, n: int, needed: int, mean: Floats) -> None:
    ends, counts = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    for row in range(x.shape[0]):
        ends[:], counts[:] = 0.0, 0
        # the last value, its row, and the last row with another value: a window that begins later is constant
        last, last_at, other = 0.0, -n - 1, -n - 1
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            total, count = 0.0, 0
            for at in range(begin, until):
                value = x[row, at]
                if not math.isnan(value):
                    if value != last:
                        last, other = value, last_at
                    last_at = at
                    total += value
                    count += 1
                rest = at - begin + 1
                there = counts[rest] + count
                if there < needed:
                    mean[row, at] = math.nan
                else:
                    mean[row, at] = last if other <= at - n else (ends[rest] + total) / there
            # sums from every row of the block to its end, for the windows that end in the next
            total, count = 0.0, 0
            for at in range(until - 1, begin - 1, -1):
                value = x[row, at]
                if not math.isnan(value):
                    total += value
                    count += 1
                ends[at - begin], counts[at - begin] = total, count


def _moments(x: Floats, n: int, needed: int, ddof: int, mean: Floats, deviation: Floats) -> None:
    means, squares, counts = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1, np.int64)
    per = 1.0 / np.maximum(1.0, np.arange(n + 1))
    for row in range(x.shape[0]):
        means[:], squares[:], counts[:] = 0.0, 0.0, 0
        # the last value, its row, and the last row with another value: a window that begins later is constant
        last, last_at, other = 0.0, -n - 1, -n - 1
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            near, total, square, count = 0.0, 0.0, 0.0, 0
            for at in range(begin, until):
                value = x[row, at]
                if not math.isnan(value):
                    if value != last:
                        last, other = value, last_at
                    last_at = at
                    if count == 0:
                        near = value
                    away = value - near
                    total += away
                    square += away * away
                    count += 1
                rest = at - begin + 1
                before = counts[rest]
                there = before + count
                if there < needed or there <= ddof:
                    mean[row, at], deviation[row, at] = math.nan, math.nan
                elif other <= at - n:
                    mean[row, at], deviation[row, at] = last, 0.0
                else:
                    shift = near + total * per[count] - means[rest]
                    share = count * per[there]
                    both = squares[rest] + (square - total * total * per[count]) + shift * shift * before * share
                    mean[row, at] = means[rest] + shift * share
                    deviation[row, at] = math.sqrt(max(both, 0.0) / (there - ddof))
            near, total, square, count = 0.0, 0.0, 0.0, 0
            for at in range(until - 1, begin - 1, -1):
                value = x[row, at]
                if not math.isnan(value):
                    if count == 0:
                        near = value
                    away = value - near
                    total += away
                    square += away * away
                    count += 1
                rest = at - begin
                means[rest] = near + total * per[count]
                squares[rest] = square - total * total * per[count]
                counts[rest] = count


def _comoments(x: Floats, y: Floats, n: int, needed: int, of_x: Floats, of_y: Floats, together: Floats) -> None:
    # per start in the last block: means of x and y, sums of squares of x and y, of products
    ends, counts = np.zeros((n + 1, 5)), np.zeros(n + 1, np.int64)
    per = 1.0 / np.maximum(1.0, np.arange(n + 1))
    for row in range(x.shape[0]):
        ends[:], counts[:] = 0.0, 0
        x_last, x_other, y_last, y_other, last_at = 0.0, -n - 1, 0.0, -n - 1, -n - 1
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            x_near, y_near, sx, sy, sxx, syy, sxy, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
            for at in range(begin, until):
                a, b = x[row, at], y[row, at]
                if not (math.isnan(a) or math.isnan(b)):
                    if a != x_last:
                        x_last, x_other = a, last_at
                    if b != y_last:
                        y_last, y_other = b, last_at
                    last_at = at
                    if count == 0:
                        x_near, y_near = a, b
                    a -= x_near
                    b -= y_near
                    sx += a
                    sy += b
                    sxx += a * a
                    syy += b * b
                    sxy += a * b
                    count += 1
                rest = at - begin + 1
                there = counts[rest] + count
                if there < needed or there < 2:
                    of_x[row, at], of_y[row, at], together[row, at] = math.nan, math.nan, math.nan
                    continue
                dx = x_near + sx * per[count] - ends[rest, 0]
                dy = y_near + sy * per[count] - ends[rest, 1]
                weight = counts[rest] * count * per[there]
                scale = 1.0 / (there - 1)
                xx = ends[rest, 2] + (sxx - sx * sx * per[count]) + dx * dx * weight
                yy = ends[rest, 3] + (syy - sy * sy * per[count]) + dy * dy * weight
                xy = ends[rest, 4] + (sxy - sx * sy * per[count]) + dx * dy * weight
                x_flat, y_flat = x_other <= at - n, y_other <= at - n
                of_x[row, at] = 0.0 if x_flat else max(xx, 0.0) * scale
                of_y[row, at] = 0.0 if y_flat else max(yy, 0.0) * scale
                together[row, at] = 0.0 if x_flat or y_flat else xy * scale
            x_near, y_near, sx, sy, sxx, syy, sxy, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
            for at in range(until - 1, begin - 1, -1):
                a, b = x[row, at], y[row, at]
                if not (math.isnan(a) or math.isnan(b)):
                    if count == 0:
                        x_near, y_near = a, b
                    a -= x_near
                    b -= y_near
                    sx += a
                    sy += b
                    sxx += a * a
                    syy += b * b
                    sxy += a * b
                    count += 1
                rest = at - begin
                counts[rest] = count
                ends[rest, 0] = x_near + sx * per[count]
                ends[rest, 1] = y_near + sy * per[count]
                ends[rest, 2] = sxx - sx * sx * per[count]
                ends[rest, 3] = syy - sy * sy * per[count]
                ends[rest, 4] = sxy - sx * sy * per[count]


def _max(x: Floats, n: int, needed: int, highest: Floats) -> None:
    ends, counts = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    for row in range(x.shape[0]):
        ends[:], counts[:] = -math.inf, 0
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            top, count = -math.inf, 0
            for at in range(begin, until):
                value = x[row, at]
                if not math.isnan(value):
                    top = max(top, value)
                    count += 1
                rest = at - begin + 1
                enough = counts[rest] + count >= needed
                highest[row, at] = max(top, ends[rest]) if enough else math.nan
            top, count = -math.inf, 0
            for at in range(until - 1, begin - 1, -1):
                value = x[row, at]
                if not math.isnan(value):
                    top = max(top, value)
                    count += 1
                ends[at - begin], counts[at - begin] = top, count


def _min(x: Floats, n: int, needed: int, lowest: Floats) -> None:
    ends, counts = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    for row in range(x.shape[0]):
        ends[:], counts[:] = math.inf, 0
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            bottom, count = math.inf, 0
            for at in range(begin, until):
                value = x[row, at]
                if not math.isnan(value):
                    bottom = min(bottom, value)
                    count += 1
                rest = at - begin + 1
                enough = counts[rest] + count >= needed
                lowest[row, at] = min(bottom, ends[rest]) if enough else math.nan
            bottom, count = math.inf, 0
            for at in range(until - 1, begin - 1, -1):
                value = x[row, at]
                if not math.isnan(value):
                    bottom = min(bottom, value)
                    count += 1
                ends[at - begin], counts[at - begin] = bottom, count


def _line(y: Floats, n: int, needed: int, slope: Floats, end: Floats, sigma: Floats) -> None:
    # per start in the last block: sums of y, y * y, k * y, k, k * k, where k = 0 is the first row after that block
    ends, counts = np.zeros((n + 1, 5)), np.zeros(n + 1, np.int64)
    for row in range(y.shape[0]):
        ends[:], counts[:] = 0.0, 0
        last, last_at, other = math.nan, -n - 1, -n - 1
        for begin in range(0, y.shape[1], n):
            until = min(begin + n, y.shape[1])
            near = last  # both pieces relative to the last value of the block before
            sy, syy, sky, sk, skk, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0
            for at in range(begin, until):
                k = float(at - begin)
                value = y[row, at]
                if math.isnan(value):
                    slope[row, at], end[row, at], sigma[row, at] = math.nan, math.nan, math.nan
                    continue
                if math.isnan(near):
                    near = value
                if value != last:
                    last, other = value, last_at
                last_at = at
                value -= near
                sy += value
                syy += value * value
                sky += k * value
                sk += k
                skk += k * k
                count += 1
                rest = at - begin + 1
                there = counts[rest] + count
                if there < needed or at < n - 1 or there < 2:
                    slope[row, at], end[row, at], sigma[row, at] = math.nan, math.nan, math.nan
                elif other <= at - n:
                    slope[row, at], end[row, at], sigma[row, at] = 0.0, last, 0.0
                else:
                    mean_y, mean_k = (ends[rest, 0] + sy) / there, (ends[rest, 3] + sk) / there
                    yy = ends[rest, 1] + syy - there * mean_y * mean_y
                    ky = ends[rest, 2] + sky - there * mean_k * mean_y
                    kk = ends[rest, 4] + skk - there * mean_k * mean_k
                    rise = ky / kk
                    slope[row, at] = rise
                    end[row, at] = near + (mean_y + rise * (k - mean_k))
                    sigma[row, at] = math.sqrt(max(yy - rise * ky, 0.0) / there)
            sy, syy, sky, sk, skk, count = 0.0, 0.0, 0.0, 0.0, 0.0, 0
            for at in range(until - 1, begin - 1, -1):
                k, value = float(at - until), y[row, at] - last
                if not math.isnan(value):
                    sy += value
                    syy += value * value
                    sky += k * value
                    sk += k
                    skk += k * k
                    count += 1
                rest = at - begin
                counts[rest] = count
                ends[rest, 0], ends[rest, 1], ends[rest, 2] = sy, syy, sky
                ends[rest, 3], ends[rest, 4] = sk, skk


def _smoothed(x: Floats, n: int, mean_first: int, alpha: float, out: Floats) -> None:
    for row in range(x.shape[0]):
        state, seen, kept = 0.0, 0, 1.0 - alpha
        for at in range(x.shape[1]):
            value = x[row, at]
            if math.isnan(value):
                out[row, at] = math.nan
                continue
            seen += 1
            if seen > n or (seen > 1 and not mean_first):
                state = kept * state + alpha * value
            elif not mean_first:
                state = value
            else:
                state += value
                if seen == n:
                    state /= n
            out[row, at] = state if seen >= n else math.nan


def _held(x: Floats, out: Floats) -> None:
    for row in range(x.shape[0]):
        last = math.nan
        for at in range(x.shape[1]):
            value = x[row, at]
            if not math.isnan(value):
                last = value
            out[row, at] = last


def _ranks(values: Floats, out: Floats) -> None:
    for row in range(values.shape[0]):
        for one in range(values.shape[1]):
            value = values[row, one]
            below, equal = 0, 0
            for other in range(values.shape[1]):
                below += values[row, other] < value
                equal += values[row, other] == value
            out[row, one] = math.nan if equal == 0 else below + 0.5 * (equal + 1)


_MEAN = Kernel(_mean, 1, 1)
_MOMENTS = Kernel(_moments, 1, 2, integers=3)
_COMOMENTS = Kernel(_comoments, 2, 3)
_MAX = Kernel(_max, 1, 1)
_MIN = Kernel(_min, 1, 1)
_LINE = Kernel(_line, 1, 3)
_SMOOTHED = Kernel(_smoothed, 1, 1, floats=1)
_HELD = Kernel(_held, 1, 1, integers=0)
_RANKS = Kernel(_ranks, 1, 1, integers=0)
KERNELS = (_MEAN, _MOMENTS, _COMOMENTS, _MAX, _MIN, _LINE, _SMOOTHED, _HELD, _RANKS)
