"""What a stream says of minutes that REST has not stated yet: bars that wait to be written, forming minutes, prices."""

from __future__ import annotations

import time
from collections.abc import Iterable

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, BarOrigin, as_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.store import LivePrice
from crypto_pipeline.venues.stream_protocol import LiveBar

_MINUTE = Timeframe.M1.milliseconds
_COLUMNS = (
    "instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count", "source", "complete",
    "revision",
)  # fmt: skip


class ProvisionalBars:
    """Bars and prices of one term, in memory. Not thread-safe: use it from one event loop. Times in Unix ms.

    ``made_of_trades``: the bars were made here, and volumes come with the trades.
    """

    def __init__(self, *, made_of_trades: bool = False) -> None:
        self._made_of_trades = made_of_trades
        #: minutes to write by (instrument, open time), each with the venue time at which it came
        self.waiting: dict[tuple[str, int], tuple[LiveBar, int]] = {}
        #: instruments whose price or forming minute changed since they were last written
        self.moved: set[str] = set()
        #: when the last bar or trade came (``time.monotonic``)
        self.arrived = 0.0
        self._prices: dict[str, LivePrice] = {}
        #: begin of the newest second of each instrument that is in its forming minute
        self._seconds: dict[str, int] = {}
        self._oldest_ms: int | None = None

    def take_bar(self, bar: LiveBar, now_ms: int) -> None:
        """Take in a minute, or a second of the minute that forms. A later copy of a minute replaces an earlier one."""
        self.arrived = time.monotonic()
        if bar.timeframe == Timeframe.M1 and not bar.closed:
            self._take_forming(bar)
            return
        if bar.timeframe == Timeframe.M1:
            self.waiting[bar.instrument, bar.open_ms] = bar, now_ms
            return
        if bar.open_ms <= self._seconds.get(bar.instrument, -1):
            return  # a correction: the minute will have it
        self._seconds[bar.instrument] = bar.open_ms
        price = self._minute(bar.instrument, bar.open_ms, bar.open)
        if price is None:
            return
        price.high, price.low = max(price.high, bar.high), min(price.low, bar.low)
        price.close = bar.close
        price.volume += bar.volume
        self._moved(price, bar.close, bar.event_ms)

    def _take_forming(self, bar: LiveBar) -> None:
        price = self._minute(bar.instrument, bar.open_ms, bar.open)
        if price is not None:
            price.open, price.high, price.low, price.close = bar.open, bar.high, bar.low, bar.close
            price.volume = bar.volume
            self._moved(price, bar.close, bar.event_ms)

    def take_trade(self, trade: LiveTrade, now_ms: int) -> None:
        """Take in the price of a trade. Where the stream states bars, volumes come with the seconds."""
        self.arrived = time.monotonic()
        price = self._minute(trade.instrument, trade.time_ms, trade.price)
        if price is None:
            return
        price.high, price.low = max(price.high, trade.price), min(price.low, trade.price)
        price.close = trade.price
        price.volume += trade.quantity if self._made_of_trades else 0.0
        self._moved(price, trade.price, trade.time_ms)

    def moved_prices(self) -> tuple[list[LivePrice], int | None]:
        """The prices that changed since the last call, and the oldest time of what changed them."""
        moved, self.moved = self.moved, set()
        oldest_ms, self._oldest_ms = self._oldest_ms, None
        return [self._prices[name] for name in sorted(moved)], oldest_ms

    def frame(self, bars: Iterable[tuple[LiveBar, int]]) -> pl.DataFrame:
        """BAR_SCHEMA frame of minutes, none of them complete, with the time at which each came as its revision."""
        source = str(BarOrigin.LIVE_AGGREGATED if self._made_of_trades else BarOrigin.VENUE_HISTORICAL)
        rows = [
            (
                bar.instrument, bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count,
                source, False, max(now_ms, bar.open_ms + _MINUTE),
            )
            for bar, now_ms in bars
        ]  # fmt: skip
        times = {"open_time": pl.Int64(), "revision": pl.Int64()}
        schema = {name: times.get(name, BAR_SCHEMA[name]) for name in _COLUMNS}
        return as_bars(pl.DataFrame(rows, schema=schema, orient="row"))

    def _minute(self, instrument: str, ms: int, first: float) -> LivePrice | None:
        """The forming minute that holds ``ms``, begun with the price ``first``; None where a later one forms."""
        open_ms = ms - ms % _MINUTE
        price = self._prices.get(instrument)
        if price is not None and price.open_ms > open_ms:
            return None
        if price is None or price.open_ms < open_ms:
            price = LivePrice(
                instrument, Timeframe.M1, open_ms, first, first, first, first, 0.0, None, None, None, first, ms, None,
                str(BarOrigin.LIVE_AGGREGATED),
            )  # fmt: skip
            self._prices[instrument] = price
        return price

    def _moved(self, price: LivePrice, last: float, ms: int) -> None:
        price.last_price, price.last_ms = last, max(ms, price.last_ms or 0)
        self.moved.add(price.instrument)
        self._oldest_ms = ms if self._oldest_ms is None else min(ms, self._oldest_ms)
