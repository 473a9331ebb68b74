"""The minutes inside one 15m bar, where they must say in which order things happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from crypto_pipeline.labels.grid import Floats


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

    def of_bar(self, high: float, low: float) -> list[tuple[float, float, float]] | None:
        """Open, high and low of the minutes in which something traded, if they are all of the bar.

        They are when their extremes are its own; None otherwise.
        """
        columns = (self.open.tolist(), self.high.tolist(), self.low.tolist(), self.volume.tolist())
        traded = [row[:3] for row in zip(*columns, strict=True) if row[3] > 0]
        if not traded or max(row[1] for row in traded) != high or min(row[2] for row in traded) != low:
            return None
        return traded


def walk_minutes(
    inside: Sequence[tuple[float, float, float]],
    orders: Sequence[float],
    filled: int,
    stop: float,
    profit: Sequence[float],
) -> tuple[int, int, Ambiguous]:
    """Walk the minutes from ``filled`` orders on; ``profit[k - 1]`` is the take profit after ``k`` orders.

    Returns what ended the event (1 take profit, 2 stop, 0 nothing), the orders filled by then, and whether the minutes
    said so or one of them left it open.
    """
    ambiguous = Ambiguous.MINUTES
    for opened, high, low in inside:
        if opened <= stop:
            return 2, filled, ambiguous
        filled = _reached(orders, opened, filled)
        if opened >= profit[filled - 1]:
            return 1, filled, ambiguous
        after = _reached(orders, low, filled)
        if low <= stop:
            return 2, after, Ambiguous.ASSUMED if high >= profit[after - 1] else ambiguous
        if high >= profit[filled - 1]:
            return 1, filled, Ambiguous.ASSUMED if after > filled else ambiguous
        if after > filled and high >= profit[after - 1]:
            ambiguous = Ambiguous.ASSUMED
        filled = after
    return 0, filled, ambiguous


def _reached(orders: Sequence[float], price: float, filled: int) -> int:
    """Orders (highest first) at or above a price, at least those filled already."""
    while filled < len(orders) and orders[filled] >= price:
        filled += 1
    return filled
