"""The bars that are forming now, of every timeframe, and the last prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Minute, Series
from crypto_pipeline.market.bars import Source
from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe
from crypto_pipeline.store import LivePrice, Store

_MONDAY_MS = 4 * 86_400_000
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "trade_count")


@dataclass(slots=True)
class Sum:
    """Minutes of one window that are over, put together: those that opened before ``upto``."""

    window: int
    upto: int
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
        self.upto = minute.open_ms + MINUTE
        if minute.trades:
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
        """Add what traded after all that is in."""
        if not self.traded:
            self.open, self.high, self.low, self.traded = open_, high, low, True
        else:
            self.high, self.low = max(self.high, high), min(self.low, low)
        self.close = close
        self.volume += volume
        self.quote = None if self.quote is None or quote is None else self.quote + quote
        self.taker = None if self.taker is None or taker is None else self.taker + taker
        self.count = None if self.count is None or count is None else self.count + count


def window_of(timeframe: Timeframe, ms: int) -> int:
    """Open time of the window that holds ``ms``."""
    anchor = _MONDAY_MS if timeframe is Timeframe.W1 else 0
    return ms - (ms - anchor) % timeframe.milliseconds


class Forming:
    """Per instrument the sums of the running windows. One per ingest."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Timeframe], Sum] = {}

    def load(self, store: Store, instruments: list[str], now_ms: int) -> None:
        """Begin with what is stored: days of this week, minutes of today."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        today, week = Timeframe.D1.floor(now), Timeframe.W1.floor(now)
        minutes = store.reader.read(instruments, Timeframe.M1, today, Timeframe.M1.floor(now))
        days = store.reader.read(instruments, Timeframe.D1, week, today) if today > week else minutes.clear()
        upto = int(Timeframe.M1.floor(now).timestamp() * 1000)
        for timeframe in HIGHER_TIMEFRAMES:
            window = timeframe.floor(now)
            bars = pl.concat([days, minutes]).filter(pl.col("open_time") >= window)
            self._load(timeframe, bars, window, upto)

    def _load(self, timeframe: Timeframe, bars: pl.DataFrame, window: datetime, upto: int) -> None:
        open_ms = (window - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        traded = bars.filter(pl.col("volume") > 0).sort("instrument", "open_time")
        summed = traded.group_by("instrument", maintain_order=True).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            # what one part does not state, the whole cannot
            *(
                pl.when(pl.col(name).is_null().any()).then(None).otherwise(pl.col(name).sum()).alias(name)
                for name in _SUMS
            ),
        )
        for name, *values in summed.iter_rows():
            fresh = Sum(open_ms, upto)
            fresh.add(*values)
            self._sums[name, timeframe] = fresh

    def prices(self, moved: Iterable[Series], higher: Iterable[Series]) -> list[LivePrice]:
        """Rows for the instruments that moved: the minute, and of those in ``higher`` all other timeframes as well."""
        rows = [row for series in moved if (row := _minute_row(series)) is not None]
        for series in higher:
            rows += self._higher(series)
        return rows

    def _higher(self, series: Series) -> list[LivePrice]:
        current, last = series.current, series.last
        if current is None or last is None:
            return []
        return [self._row(series, current, timeframe) for timeframe in HIGHER_TIMEFRAMES]

    def _row(self, series: Series, current: Minute, timeframe: Timeframe) -> LivePrice:
        window = window_of(timeframe, current.open_ms)
        done = self._sums.get((series.symbol, timeframe))
        if done is None or done.window != window:
            done = self._sums[series.symbol, timeframe] = Sum(window, window)
        for open_ms in sorted(ms for ms in series.minutes if done.upto <= ms < current.open_ms):
            done.take(series.minutes[open_ms])
        whole = Sum(
            done.window, done.upto, done.traded, done.open, done.high, done.low, done.close, done.volume, done.quote,
            done.taker, done.count,
        )  # fmt: skip
        if current.open_ms >= done.upto:
            whole.take(current)
        return _live_price(series, timeframe, whole)


def _sum(name: str) -> pl.Expr:
    """What one part does not state, the whole cannot."""
    column = pl.col(name)
    return pl.when(column.is_null().any()).then(None).otherwise(column.sum()).alias(name)


def _minute_row(series: Series) -> LivePrice | None:
    minute = series.current
    if minute is None or not minute.count:
        return None
    whole = Sum(minute.open_ms, minute.open_ms)
    whole.take(minute)
    return _live_price(series, Timeframe.M1, whole)


def _live_price(series: Series, timeframe: Timeframe, whole: Sum) -> LivePrice:
    last = series.last
    price = last.price if last is not None else whole.close
    return LivePrice(
        series.symbol,
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
        str(Source.LIVE_AGGREGATED),
    )
