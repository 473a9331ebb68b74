"""The generated market with multiplied trades, for load tests.

Each aggregate trade of the plain tape becomes ``intensity`` trades with the same price and side and a smaller quantity,
spread over the time to the next trade of its minute. So bars equal those of the plain tape with multiplied sums, and
neither a day of bars nor a minute of trades needs all trades of the day, which would not fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.market.bars import BarColumns
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.replay.market.prices import Ints
from crypto_pipeline.replay.market.symbols import DAY_MS
from crypto_pipeline.replay.market.trades import DayTrades
from crypto_pipeline.replay.wire.cache import BoundedCache

_MINUTE_MS = 60_000
#: Greatest intensity: above it, sums of a week of the busiest symbol would exceed 64 bits.
_MOST = 10_000
_SMALLER = 16


class IntenseMarket(GeneratedMarket):
    """``GeneratedMarket`` with ``intensity`` times as many trades."""

    def __init__(self, seed: int = 1, instruments: str | int | Iterable[str] | None = None, intensity: int = 2) -> None:
        if not 1 <= intensity <= _MOST:
            raise ReplayError(f"intensity {intensity}: use a whole number from 1 to {_MOST}")
        super().__init__(seed, instruments)
        self.intensity = intensity
        self._days: BoundedCache[pl.DataFrame] = BoundedCache(64 << 20)

    @property
    def description(self) -> str:
        """A short description, for the line printed at start."""
        return f"{super().description}, {self.intensity} times as many trades"

    @property
    def trade_width(self) -> int:
        """Trades come by the minute."""
        return _MINUTE_MS

    def day_trades(self, symbol: str, day_ms: int) -> DayTrades | None:
        """The trades of the plain tape with the quantities of the multiplied trades."""
        plain = super().day_trades(symbol, day_ms)
        if plain is None:
            return None
        return replace(plain, quantity=np.maximum(plain.quantity // min(self.intensity, _SMALLER), 1))

    def _plain(self, symbol: str, day_ms: int) -> pl.DataFrame:
        """The day's aggregate trades before multiplication, with the time over which each is spread."""

        def make() -> pl.DataFrame:
            frame = super(IntenseMarket, self)._aggregates(symbol, day_ms)
            times = frame["time_ms"].to_numpy()
            ends = times - times % _MINUTE_MS + _MINUTE_MS
            spans = np.minimum(np.append(times[1:], np.int64(1) << 62), ends) - times
            return frame.with_columns(pl.Series("span", spans))

        return self._days.get_or_make((symbol, day_ms), make, lambda frame: int(frame.estimated_size()))

    def _aggregates(self, symbol: str, chunk_ms: int) -> pl.DataFrame:
        plain, many = self._plain(symbol, chunk_ms - chunk_ms % DAY_MS), self.intensity
        first, stop = np.searchsorted(plain["time_ms"].to_numpy(), (chunk_ms, chunk_ms + _MINUTE_MS))
        part = {
            column.name: np.repeat(column.to_numpy(), many)
            for column in plain.slice(int(first), int(stop - first)).iter_columns()
        }
        copy = np.tile(np.arange(many), int(stop - first))
        length = part["last_id"] - part["first_id"] + 1
        first_id = (part["first_id"] - 1) * many + 1 + copy * length
        return pl.DataFrame(
            {
                "id": (part["id"] - 1) * many + 1 + copy,
                "price": part["price"],
                "quantity": part["quantity"],
                "first_id": first_id,
                "last_id": first_id + length - 1,
                "time_ms": part["time_ms"] + copy * part["span"] // many,
                "buyer_is_maker": part["buyer_is_maker"],
            }
        )

    def chunk_of_trade(self, symbol: str, trade_id: int) -> int | None:
        """Start of the minute that contains this aggregate trade."""
        plain_id = (max(trade_id, 1) - 1) // self.intensity + 1
        day = super().chunk_of_trade(symbol, plain_id)
        if day is None:
            return None
        plain = self._plain(symbol, day)
        place = int(np.searchsorted(plain["id"].to_numpy(), plain_id))
        ms = int(plain["time_ms"][place]) if place < len(plain) else day
        return ms - ms % _MINUTE_MS

    def _count(
        self, symbol: str, day_ms: int, trades: DayTrades, until_ms: int | None = None
    ) -> dict[Timeframe, BarColumns]:
        bars = super()._count(symbol, day_ms, trades, until_ms)
        short = self._not_yet(symbol, day_ms, until_ms) if until_ms is not None else None
        return {timeframe: self._multiplied(columns, short) for timeframe, columns in bars.items()}

    def _not_yet(self, symbol: str, day_ms: int, until_ms: int) -> Ints | None:
        """Volume, quote volume, trades, taker volume and taker quote volume of copies that come after ``until_ms``."""
        plain = self._plain(symbol, day_ms)
        place = int(np.searchsorted(plain["time_ms"].to_numpy(), until_ms, side="right")) - 1
        if place < 0:
            return None
        last = plain.row(place, named=True)
        offsets = np.arange(self.intensity) * last["span"] // self.intensity
        missing = int(np.count_nonzero(last["time_ms"] + offsets > until_ms))
        if not missing:
            return None
        volume = missing * last["quantity"]
        bought = 0 if last["buyer_is_maker"] else 1
        quote = volume * last["price"]
        count = missing * (last["last_id"] - last["first_id"] + 1)
        return np.array([volume, quote, count, bought * volume, bought * quote])

    def _multiplied(self, columns: BarColumns, short: Ints | None) -> BarColumns:
        names = ("volume", "quote_volume", "trades", "taker_volume", "taker_quote")
        sums = {name: getattr(columns, name).astype(np.int64) * self.intensity for name in names}
        if short is not None:
            # Copies after ``until_ms`` belong to its minute, which is in the last bar.
            for name, part in zip(names, short.tolist(), strict=True):
                sums[name][-1] -= part
        return replace(columns, **sums)
