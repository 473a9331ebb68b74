"""The loops of ``kernels``, in the part of Python that numba compiles: 2-D arrays, the last axis is time, NaN: absent.

Windows of ``n`` rows are put together from two pieces: what is left of one block of ``n`` rows from a row to its end
(``ends``, by its first row), and the next block from its beginning. Each piece is summed relative to its own first
value. So nothing is ever subtracted that was added before, and errors are those of the window alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mean(x: Floats, n: int, needed: int, mean: Floats) -> None:
    """Mean over ``n`` rows."""
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


def moments(x: Floats, n: int, needed: int, ddof: int, mean: Floats, deviation: Floats) -> None:
    """Mean and standard deviation over ``n`` rows."""
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


def comoments(x: Floats, y: Floats, n: int, needed: int, of_x: Floats, of_y: Floats, together: Floats) -> None:
    """Sample variances of ``x`` and ``y`` and their covariance over those of ``n`` rows in which both are there."""
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


def extreme(x: Floats, n: int, needed: int, sign: int, out: Floats) -> None:
    """Maximum (``sign`` 1) or minimum (-1) over ``n`` rows."""
    ends, counts = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    for row in range(x.shape[0]):
        ends[:], counts[:] = -math.inf, 0
        for begin in range(0, x.shape[1], n):
            until = min(begin + n, x.shape[1])
            top, count = -math.inf, 0
            for at in range(begin, until):
                value = sign * x[row, at]
                if not math.isnan(value):
                    top = max(top, value)
                    count += 1
                rest = at - begin + 1
                enough = counts[rest] + count >= needed
                out[row, at] = sign * max(top, ends[rest]) if enough else math.nan
            top, count = -math.inf, 0
            for at in range(until - 1, begin - 1, -1):
                value = sign * x[row, at]
                if not math.isnan(value):
                    top = max(top, value)
                    count += 1
                ends[at - begin], counts[at - begin] = top, count


def line(y: Floats, n: int, needed: int, slope: Floats, end: Floats, sigma: Floats) -> None:
    """Slope, value at the last row and residual deviation of the least-squares line over ``n`` rows."""
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


def smoothed(x: Floats, n: int, mean_first: int, alpha: float, out: Floats) -> None:
    """``s += alpha * (x - s)``, from the first value or the mean of the first ``n``."""
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


def held(x: Floats, out: Floats) -> None:
    """The last value that is not absent."""
    for row in range(x.shape[0]):
        last = math.nan
        for at in range(x.shape[1]):
            value = x[row, at]
            if not math.isnan(value):
                last = value
            out[row, at] = last


def ranks(values: Floats, out: Floats) -> None:
    """Rank within each row from 1, ties share their mean."""
    for row in range(values.shape[0]):
        for one in range(values.shape[1]):
            value = values[row, one]
            below, equal = 0, 0
            for other in range(values.shape[1]):
                below += values[row, other] < value
                equal += values[row, other] == value
            out[row, one] = math.nan if equal == 0 else below + 0.5 * (equal + 1)
