"""The market behind every scripted venue: trades of a few pairs, and bars of them in no venue's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from crypto_pipeline_tests.builders.scripted_others import NOW_MS, Deal, deals, minute_bars

MINUTE, DAY = 60_000, 86_400_000
#: Two days and a half of trades with silent minutes between.
_TRADES = 7_000


class Row(NamedTuple):
    """One bar; times in Unix ms."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    count: int


@cache
def _deals(seed: int, newest_ms: int) -> tuple[Deal, ...]:
    return tuple(deals(_TRADES, seed=seed, newest_ms=newest_ms))


@dataclass
class Pair:
    """One pair: its name at the venue, and its trades with ids from 1. ``status``: trading, paused or delisted."""

    base: str
    trades: tuple[Deal, ...]
    status: str = "trading"
    symbol: str = ""

    @property
    def listed(self) -> int:
        """Open time of the first minute."""
        return self.trades[0].us // 1000 // MINUTE * MINUTE


@dataclass
class Market:
    """The pairs; BTC and ETH trade, OLD was delisted a day ago. ``twist`` changes the rows of every answer."""

    now: int = NOW_MS
    twist: Callable[[list[Row]], list[Row]] = list
    pairs: dict[str, Pair] = field(
        default_factory=lambda: {
            "BTC": Pair("BTC", _deals(1, NOW_MS - 5_000)),
            "ETH": Pair("ETH", _deals(2, NOW_MS - 5_000)),
            "OLD": Pair("OLD", _deals(3, NOW_MS - 30 * 3_600_000), status="delisted"),
        }
    )
    #: Minutes (Unix ms) that no bar is stated of, although something was traded.
    hidden: frozenset[int] = frozenset()
    _bars: dict[tuple[str, int, bool], list[Row]] = field(default_factory=dict)

    def of_symbol(self, symbol: str) -> Pair | None:
        """The pair that the venue calls so."""
        return next((pair for pair in self.pairs.values() if pair.symbol == symbol), None)

    def bars(self, pair: Pair, width: int, *, flat: bool) -> list[Row]:
        """All bars in time order with the forming one; ``flat``: a window without a trade has a flat bar."""
        key = (pair.base, width, flat)
        if key not in self._bars:
            self._bars[key] = list(_rows(pair, width, self.now, flat=flat))
        return [row for row in self._bars[key] if row.time <= self.now and row.time not in self.hidden]

    def stated(self, pair: Pair, width: int, first: int, last: int, *, flat: bool) -> list[Row]:
        """Bars with open times from ``first`` to ``last``, both included, after the twist."""
        return self.twist([row for row in self.bars(pair, width, flat=flat) if first <= row.time <= last])

    def trades(self, pair: Pair) -> list[Deal]:
        """Trades so far."""
        return [deal for deal in pair.trades if deal.us <= self.now * 1000]


def _rows(pair: Pair, width: int, now: int, *, flat: bool) -> list[Row]:
    bars = minute_bars([deal for deal in pair.trades if deal.us <= now * 1000], width)
    amounts: dict[int, float] = {}
    for deal in pair.trades:
        at = deal.us // 1000 // width * width
        amounts[at] = amounts.get(at, 0.0) + float(deal.price) * float(deal.size)
    last = now // width * width if pair.status == "trading" else max(bars)
    times = range(min(bars), last + width, width) if flat else sorted(bars)
    rows, close = [], 0.0
    for at in times:
        o, h, low, c, volume, count = bars.get(at) or [close] * 4 + [0.0, 0]
        close = c
        rows.append(Row(at, o, h, low, c, volume, round(amounts.get(at, 0.0), 8), count))
    return rows
