"""The arithmetic of roll-up on plain arrays: consecutive rows of one window become one row.

Works on runs of rows that are sorted already, because a segment reduction over sorted rows reads each value once and
needs no hash table. Rows go through in blocks that fit the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BLOCK_ROWS = 1 << 16
_THREADS_FROM = 1 << 18


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars as arrays, sorted by (run, time). A run is one instrument; ``row`` is each bar's first row in the input.

    ``sums`` are added up and hold NaN where a value is not stated; ``maxima`` keep the largest; ``complete`` must hold
    for every part.
    """

    time: Ints
    run: NDArray[np.uint32] | None
    row: Ints | None
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    sums: dict[str, Floats] = field(default_factory=dict)
    maxima: dict[str, Ints] = field(default_factory=dict)
    complete: Bools | None = None

    def __len__(self) -> int:
        return len(self.time)


def widen(bars: Columns, width: int, anchor: int) -> Columns:
    """Bars of the grid ``anchor + k * width`` (milliseconds), from finer bars: invariant I4.

    Open, high, low and close come from parts with volume; a window in which nothing traded is made of its flat parts.
    A wide bar without volume is flat in the same sense, so widening in steps gives the same as widening at once.
    """
    if not len(bars):
        return bars
    with _Workers(len(bars)) as work:
        parts = work(lambda low: _windows(bars, width, anchor, low), range(0, len(bars), _BLOCK_ROWS))
        starts = np.concatenate([part[0] for part in parts])
        opens = np.concatenate([part[1] for part in parts])
        blocks = work(lambda block: _reduce(bars, starts[block[0] : block[1]], block[2]), _blocks(starts, len(bars)))
    joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return Columns(
        time=opens,
        run=bars.run[starts] if bars.run is not None else None,
        row=bars.row[starts] if bars.row is not None else starts,
        **{name: joined[name] for name in ("open", "high", "low", "close", "volume")},
        sums={name: joined[f"sum {name}"] for name in bars.sums},
        maxima={name: joined[f"max {name}"] for name in bars.maxima},
        complete=joined["complete"] if bars.complete is not None else None,
    )


class _Workers:
    """Maps a function over blocks, on as many threads as Polars has when there is enough to do.

    The threads live as long as one call: idle threads left behind would not survive a fork.
    """

    def __init__(self, rows: int) -> None:
        self._pool = ThreadPoolExecutor(pl.thread_pool_size()) if rows >= _THREADS_FROM else None

    def __enter__(self) -> Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]:
        return lambda function, items: list((self._pool.map if self._pool else map)(function, items))

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()


def _windows(bars: Columns, width: int, anchor: int, low: int) -> tuple[Ints, Ints]:
    """First row and open time of the windows that begin in the block of rows at ``low``."""
    before = max(low - 1, 0)
    rows = slice(before, low + _BLOCK_ROWS)
    floored = (bars.time[rows] - anchor) // width * width + anchor
    changed = floored[1:] != floored[:-1]
    if bars.run is not None:
        run = bars.run[rows]
        changed |= run[1:] != run[:-1]
    starts = np.flatnonzero(changed) + 1
    if low == 0:
        starts = np.concatenate(([0], starts))
    return starts + before, floored[starts]


def _blocks(starts: Ints, rows: int) -> list[tuple[int, int, int]]:
    """Cut the windows into blocks of about ``_BLOCK_ROWS`` rows: (first window, last window + 1, row of the end)."""
    cuts = np.unique(np.searchsorted(starts, np.arange(0, rows, _BLOCK_ROWS)))
    bounds = [*cuts[cuts < len(starts)].tolist(), len(starts)]
    ends = [*starts[bounds[1:-1]].tolist(), rows]
    return list(zip(bounds[:-1], bounds[1:], ends, strict=True))


def _reduce(bars: Columns, starts: Ints, end: int) -> dict[str, NDArray[Any]]:
    """The windows that begin at rows ``starts``; the last of them ends before row ``end``."""
    base = int(starts[0])
    rows = slice(base, end)
    first = starts - base
    last = np.append(first[1:], end - base) - 1
    volume = bars.volume[rows]
    traded = volume > 0
    out: dict[str, NDArray[Any]] = {"volume": np.add.reduceat(volume, first)}
    if traded.all():
        flat = None
        high, low = bars.high[rows], bars.low[rows]
    else:
        flat, first, last, counted = _skip_flat(traded, first, last)
        high = np.where(counted, bars.high[rows], -np.inf)
        low = np.where(counted, bars.low[rows], np.inf)
    begins = starts - base
    out["open"] = bars.open[rows][first]
    out["high"] = np.maximum.reduceat(high, begins)
    out["low"] = np.minimum.reduceat(low, begins)
    out["close"] = bars.close[rows][last]
    for name, values in bars.sums.items():
        out[f"sum {name}"] = _sum(values[rows], traded, begins, flat)
    for name, stamps in bars.maxima.items():
        out[f"max {name}"] = np.maximum.reduceat(stamps[rows], begins)
    if bars.complete is not None:
        out["complete"] = np.logical_and.reduceat(bars.complete[rows], begins)
    return out


def _skip_flat(traded: Bools, first: Ints, last: Ints) -> tuple[Bools, Ints, Ints, Bools]:
    """Which windows are flat, first and last row that counts in each window, and which rows count at all."""
    begin, end = first.copy(), last.copy()
    flat = np.zeros(len(first), dtype=np.bool_)
    # Nearly all windows begin and end with a traded row; in the others the edge moves inwards until it meets one.
    pending = np.flatnonzero(~traded[first])
    while len(pending):
        begin[pending] += 1
        through = begin[pending] > last[pending]
        flat[pending[through]] = True
        pending = pending[~through]
        pending = pending[~traded[begin[pending]]]
    begin[flat] = first[flat]
    pending = np.flatnonzero(~traded[last] & ~flat)
    while len(pending):
        end[pending] -= 1
        pending = pending[~traded[end[pending]]]
    counted = traded | np.repeat(flat, last - first + 1) if flat.any() else traded
    return flat, begin, end, counted


def _sum(values: Floats, traded: Bools, begins: Ints, flat: Bools | None) -> Floats:
    """Sums per window; NaN where a part without a value traded, or where no part of the window traded."""
    plain: Floats = np.add.reduceat(values, begins)
    if flat is None or not np.isnan(plain).any():
        return plain
    stated: Floats = np.add.reduceat(np.where(traded | ~np.isnan(values), values, 0.0), begins)
    return np.where(flat, plain, stated)
