"""Bars of generated trades, computed in exact integers, each timeframe directly from the trades.

This code is separate from the roll-up in ``market`` on purpose: tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.prices import Ints
from crypto_pipeline.replay.market.trades import MINUTES, DayTrades, Mask

INTRADAY = tuple(timeframe for timeframe in Timeframe if timeframe.minutes <= MINUTES)


@dataclass(frozen=True, slots=True)
class BarColumns:
    """Bars in ticks and steps; ``quote_volume`` in ticks × steps. Small dtypes save memory for years of bars."""

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote_volume: Ints
    trades: Ints
    taker_volume: Ints
    taker_quote: Ints

    @property
    def nbytes(self) -> int:
        """Memory of the columns."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def __len__(self) -> int:
        return len(self.open_ms)


def count_bars(
    trades: DayTrades, day_ms: int, open_minutes: Mask, previous_close: int | None
) -> dict[Timeframe, BarColumns]:
    """The day's bars in all timeframes up to 1d.

    A window has a bar if any of its minutes was open for trading; a bar without trades is flat at the previous close.
    With ``previous_close`` None there were no trades before, so there is no bar before the first trade.
    """
    edges = np.searchsorted(trades.time_ms, day_ms + np.arange(MINUTES + 1) * 60_000)
    stated = open_minutes.copy()
    if previous_close is None:
        stated[: int((trades.time_ms[0] - day_ms) // 60_000) if len(trades.time_ms) else MINUTES] = False
    sums = _Sums(trades)
    return {
        timeframe: _windows(
            sums,
            edges[:: timeframe.minutes],
            day_ms + np.arange(0, MINUTES, timeframe.minutes) * 60_000,
            np.asarray(stated.reshape(-1, timeframe.minutes).any(axis=1)),
            previous_close or 0,
        )
        for timeframe in INTRADAY
    }


class _Sums:
    """Cumulative sums over the day's trades, so that the sum of a window is one subtraction."""

    def __init__(self, trades: DayTrades) -> None:
        self.price = trades.price
        quote = trades.price * trades.quantity
        zero = np.zeros(1, dtype=np.int64)
        self.totals = [
            np.concatenate((zero, np.cumsum(column)))
            for column in (trades.quantity, quote, trades.quantity * trades.taker_buys, quote * trades.taker_buys)
        ]


def _windows(sums: _Sums, edges: Ints, opens: Ints, stated: Mask, previous_close: int) -> BarColumns:
    first, last = edges[:-1], edges[1:]
    counts = last - first
    traded = counts > 0
    starts, ends = first[traded], last[traded]
    closes = np.full(len(opens), previous_close, dtype=np.int64)
    if len(starts):
        closes[traded] = sums.price[ends - 1]
        # An empty window gets the close of the last window with trades.
        source = np.maximum.accumulate(np.where(traded, np.arange(len(opens)), -1))
        closes = np.where(source >= 0, closes[source], previous_close)
    open_, high, low = closes.copy(), closes.copy(), closes.copy()
    if len(starts):
        open_[traded] = sums.price[starts]
        # Windows are adjacent and contain all trades, so each window's first trade follows the previous one's last.
        high[traded] = np.maximum.reduceat(sums.price, starts)
        low[traded] = np.minimum.reduceat(sums.price, starts)
    volume, quote, taker, taker_quote = (total[last] - total[first] for total in sums.totals)
    narrow = (column.astype(np.int32) for column in (open_, high, low, closes))
    columns = (opens, *narrow, volume, quote, counts.astype(np.int32), taker, taker_quote)
    return BarColumns(*(column[stated] for column in columns))


def join_bars(parts: list[BarColumns], open_ms: int) -> BarColumns | None:
    """One bar over consecutive bars: prices from bars with trades, or flat if there are none."""
    whole = concatenate(parts)
    if not len(whole):
        return None
    traded = np.flatnonzero(whole.trades > 0)
    prices = traded if len(traded) else np.array([len(whole) - 1])
    values = (
        whole.open[prices[0]],
        whole.high[prices].max(),
        whole.low[prices].min(),
        whole.close[prices[-1]],
        *(
            column.sum(dtype=np.int64)
            for column in (whole.volume, whole.quote_volume, whole.trades, whole.taker_volume, whole.taker_quote)
        ),
    )
    return BarColumns(np.array([open_ms]), *(np.array([value], dtype=np.int64) for value in values))


def concatenate(parts: list[BarColumns]) -> BarColumns:
    """The parts one after another."""
    return BarColumns(
        *(
            np.concatenate([getattr(part, field.name) for part in parts]) if parts else np.zeros(0, dtype=np.int64)
            for field in fields(BarColumns)
        )
    )
