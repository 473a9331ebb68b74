"""The bars that are forming now, in every timeframe, and the last prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Minute
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.store import LivePrice, Store

_MONDAY_MS = 4 * 86_400_000
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "trade_count")


@dataclass(slots=True)
class WindowSum:
    """The sum of those minutes of one window that opened before ``until_ms``.

    Attributes:
        window: Open time of the window, Unix milliseconds.
        until_ms: Unix milliseconds.
        traded: Whether any of its minutes had a trade; prices are 0 without.
        volume: In the base asset.
        quote: Volume in the quote asset; None once a minute without it was added, so with those below.
        taker: Part of ``volume`` that takers bought.
        count: Trades.
    """

    window: int
    until_ms: int
    traded: bool = False
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: float = 0.0
    quote: float | None = 0.0
    taker: float | None = 0.0
    count: int | None = 0

    def take(self, minute: Minute) -> None:
        """Add a minute that is over."""
        self.until_ms = minute.open_ms + MINUTE
        if minute.count:  # the trades themselves are dropped once the bar of the minute is stored
            self.add(
                minute.open,
                minute.high,
                minute.low,
                minute.close,
                minute.volume,
                minute.quote,
                minute.taker,
                minute.count,
            )

    def add(
        self,
        open_: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        quote: float | None,
        taker: float | None,
        count: int | None,
    ) -> None:
        """Add figures of trades that came after those in the sum."""
        if not self.traded:
            self.open, self.high, self.low, self.traded = open_, high, low, True
        else:
            self.high, self.low = max(self.high, high), min(self.low, low)
        self.close = close
        self.volume += volume
        self.quote = None if self.quote is None or quote is None else self.quote + quote
        self.taker = None if self.taker is None or taker is None else self.taker + taker
        self.count = None if self.count is None or count is None else self.count + count

    def copy(self) -> WindowSum:
        """The same sum; ten times as fast as the standard copy, as this is done for every instrument each second."""
        return WindowSum(
            self.window, self.until_ms, self.traded, self.open, self.high, self.low, self.close, self.volume,
            self.quote, self.taker, self.count,
        )  # fmt: skip


def window_of(timeframe: Timeframe, ms: int) -> int:
    """Open time of the window that holds ``ms``."""
    anchor = _MONDAY_MS if timeframe is Timeframe.W1 else 0
    return ms - (ms - anchor) % timeframe.milliseconds


class FormingBars:
    """The sums of the running windows of every instrument and timeframe; one object per term."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Timeframe], WindowSum] = {}

    def load(self, store: Store, instruments: list[str], now_ms: int) -> None:
        """Begin with the stored bars: days of this week and minutes of today. Raises StoreError."""
        now = from_unix_ms(now_ms)
        today, week = Timeframe.D1.floor(now), Timeframe.W1.floor(now)
        minutes = store.reader.read(instruments, Timeframe.M1, today, Timeframe.M1.floor(now))
        days = store.reader.read(instruments, Timeframe.D1, week, today) if today > week else minutes.clear()
        until_ms = unix_ms(Timeframe.M1.floor(now))
        for timeframe in HIGHER_TIMEFRAMES:
            window = timeframe.floor(now)
            bars = pl.concat([days, minutes]).filter(pl.col("open_time") >= window)
            self._load(timeframe, bars, window, until_ms)

    def _load(self, timeframe: Timeframe, bars: pl.DataFrame, window: datetime, until_ms: int) -> None:
        traded = bars.filter(pl.col("volume") > 0).sort("instrument", "open_time")
        summed = traded.group_by("instrument", maintain_order=True).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            *map(_sum, _SUMS),
        )
        for name, *values in summed.iter_rows():
            begun = WindowSum(unix_ms(window), until_ms)
            begun.add(*values)
            self._sums[name, timeframe] = begun

    def prices(self, moved: Iterable[InstrumentStream], higher: Iterable[InstrumentStream]) -> list[LivePrice]:
        """Rows of the running minute of each of ``moved``, and of all wider timeframes of each of ``higher``."""
        rows = [row for stream in moved if (row := _minute_row(stream)) is not None]
        for stream in higher:
            rows += self._higher(stream)
        return rows

    def _higher(self, stream: InstrumentStream) -> list[LivePrice]:
        current, last = stream.current, stream.last
        if current is None or last is None:
            return []
        return [self._row(stream, current, timeframe) for timeframe in HIGHER_TIMEFRAMES]

    def _row(self, stream: InstrumentStream, current: Minute, timeframe: Timeframe) -> LivePrice:
        window = window_of(timeframe, current.open_ms)
        done = self._sums.get((stream.symbol, timeframe))
        if done is None or done.window != window:
            done = self._sums[stream.symbol, timeframe] = WindowSum(window, window)
        for open_ms in sorted(ms for ms in stream.minutes if done.until_ms <= ms < current.open_ms):
            done.take(stream.minutes[open_ms])
        whole = done.copy()
        if current.open_ms >= done.until_ms:
            whole.take(current)
        return _live_price(stream, timeframe, whole)


def _sum(name: str) -> pl.Expr:
    """Sum of a column; null where any part is null."""
    column = pl.col(name)
    return pl.when(column.is_null().any()).then(None).otherwise(column.sum()).alias(name)


def _minute_row(stream: InstrumentStream) -> LivePrice | None:
    minute = stream.current
    if minute is None or not minute.count:
        return None
    whole = WindowSum(minute.open_ms, minute.open_ms)
    whole.take(minute)
    return _live_price(stream, Timeframe.M1, whole)


def _live_price(stream: InstrumentStream, timeframe: Timeframe, whole: WindowSum) -> LivePrice:
    last = stream.last
    price = last.price if last is not None else whole.close
    return LivePrice(
        stream.symbol,
        timeframe,
        whole.window,
        whole.open,
        whole.high,
        whole.low,
        whole.close,
        whole.volume,
        whole.quote,
        whole.taker,
        whole.count,
        price,
        last.time_ms if last is not None else None,
        last.trade_id if last is not None else None,
        str(BarOrigin.LIVE_AGGREGATED),
    )
