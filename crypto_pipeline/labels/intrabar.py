"""The minutes inside 15m bars, where they must say in which order things happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints, Panel
from crypto_pipeline.market.bars import UTC_MS


class Ambiguous(IntEnum):
    """Whether one bar could have ended an event in two ways, and by what that was decided."""

    NO = 0
    MINUTES = 1  # its 1m bars
    ASSUMED = 2  # nothing: the stop is assumed to have come first

    @property
    def word(self) -> str:
        """As it stands in the tables."""
        return self.name.lower()


class Minutes(NamedTuple):
    """1m bars, oldest first; those of the n-th bar that was asked for are the rows ``first[n]`` to ``end[n]`` - 1."""

    first: Ints
    end: Ints
    open: Floats
    high: Floats
    low: Floats
    volume: Floats


#: Given bars (numbers of the panel's instruments, open times in ms since 1970), the minutes inside each.
MinuteSource = Callable[[Ints, Ints], Minutes]


def no_minutes(numbers: Ints, opens: Ints) -> Minutes:
    """A source that keeps none."""
    nothing = np.zeros(len(opens), np.int64)
    return Minutes(nothing, nothing, *(np.zeros(0) for _ in range(4)))


@dataclass(frozen=True, slots=True)
class KeptMinutes:
    """1m bars of one instrument in order of time, as arrays."""

    times: Ints
    columns: tuple[Floats, ...]  # open, high, low, volume

    @classmethod
    def from_bars(cls, bars: pl.DataFrame) -> Self:
        """The bars of a frame that is sorted by ``open_time``."""
        times = bars["open_time"].cast(UTC_MS).to_physical().to_numpy()
        return cls(times, tuple(bars[name].to_numpy() for name in ("open", "high", "low", "volume")))


def minutes_of(panel: Panel, kept: Mapping[str, KeptMinutes]) -> MinuteSource:
    """A source that has the minutes of some of the panel's instruments in memory."""

    def source(numbers: Ints, opens: Ints) -> Minutes:
        return gathered(panel, kept, numbers, opens)

    return source


def gathered(panel: Panel, kept: Mapping[str, KeptMinutes], numbers: Ints, opens: Ints) -> Minutes:
    """The minutes inside the bars that open at ``opens``, those of all instruments behind each other."""
    first, count = np.zeros(len(opens), np.int64), np.zeros(len(opens), np.int64)
    rows: list[Ints] = []
    parts: list[KeptMinutes] = []
    total = 0
    for number in np.unique(numbers).tolist():
        own = kept.get(panel.names[number])
        if own is None:
            continue
        places = np.flatnonzero(numbers == number)
        begin = np.searchsorted(own.times, opens[places])
        count[places] = sizes = np.searchsorted(own.times, opens[places] + panel.grid.step) - begin
        first[places] = starts = total + np.cumsum(sizes) - sizes
        size = int(sizes.sum())
        rows.append(np.repeat(begin - (starts - total), sizes) + np.arange(size))
        parts.append(own)
        total += size
    pieces = [[own.columns[column][chosen] for own, chosen in zip(parts, rows, strict=True)] for column in range(4)]
    return Minutes(first, first + count, *(np.concatenate([np.zeros(0), *piece]) for piece in pieces))
