"""The minutes inside one 15m bar, where they must say in which order things happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from crypto_pipeline.labels.grid import Flags, Floats


class Ambiguous(IntEnum):
    """Whether one bar could have ended an event in two ways, and what decided."""

    NO = 0
    MINUTES = 1  # its 1m bars
    ASSUMED = 2  # nothing: the stop is assumed to have come first

    @property
    def word(self) -> str:
        """As it stands in the tables."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Minutes:
    """1m bars inside one 15m bar, oldest first."""

    open: Floats
    high: Floats
    low: Floats
    volume: Floats

    def of_bar(self, high: float, low: float) -> Minutes | None:
        """The minutes in which something traded, if they are all of the bar: their extremes are its own."""
        traded: Flags = self.volume > 0
        if not traded.any() or self.high[traded].max() != high or self.low[traded].min() != low:
            return None
        return Minutes(self.open[traded], self.high[traded], self.low[traded], self.volume[traded])


def walk_minutes(
    inside: Minutes, orders: Floats, filled: int, stop: float, profit: Floats
) -> tuple[int, int, Ambiguous]:
    """Walk the minutes from ``filled`` orders on; ``profit[k - 1]`` is the take profit after ``k`` orders.

    Returns what ended the event (1 take profit, 2 stop, 0 nothing), the orders filled by then, and whether the minutes
    said so or one of them left it open.
    """
    ambiguous = Ambiguous.MINUTES
    for opened, high, low in zip(inside.open, inside.high, inside.low, strict=True):
        if opened <= stop:
            return 2, filled, ambiguous
        filled = max(filled, _reached(orders, opened))
        if opened >= profit[filled - 1]:
            return 1, filled, ambiguous
        after = max(filled, _reached(orders, low))
        if low <= stop:
            return 2, after, Ambiguous.ASSUMED if high >= profit[after - 1] else ambiguous
        if high >= profit[filled - 1]:
            return 1, filled, Ambiguous.ASSUMED if after > filled else ambiguous
        if after > filled and high >= profit[after - 1]:
            ambiguous = Ambiguous.ASSUMED
        filled = after
    return 0, filled, ambiguous


def _reached(orders: Floats, price: float) -> int:
    return int(np.count_nonzero(orders >= price))
