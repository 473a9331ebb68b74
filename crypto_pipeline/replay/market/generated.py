"""The generated market: the tape of any symbol and day from a seed, and its bars."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import BarOrigin, as_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay.market.bars import BarColumns, concatenate, count_bars, join_bars
from crypto_pipeline.replay.market.prices import DAYS, FIRST_DAY, DailyPath, daily_path
from crypto_pipeline.replay.market.render import decimal_text, exact_float
from crypto_pipeline.replay.market.symbols import (
    DAY_MS,
    MARKET_END_MS,
    GeneratedSymbol,
    SymbolInfo,
    choose_symbols,
    split_symbol,
)
from crypto_pipeline.replay.market.tape import chunk_start, chunk_width, floor_ms, stated_trades
from crypto_pipeline.replay.market.trades import DayTrades, make_day, open_minutes
from crypto_pipeline.replay.wire.cache import BoundedCache

_MEGABYTE = 1 << 20


class GeneratedMarket:
    """A market that depends only on its seed, never on earlier requests."""

    def __init__(
        self, seed: int = 1, instruments: str | int | Iterable[str] | None = None, cache_megabytes: int = 128
    ) -> None:
        self.seed = seed
        self._symbols = choose_symbols(instruments)
        self._paths: dict[str, DailyPath] = {}
        self._bars: BoundedCache[dict[Timeframe, BarColumns]] = BoundedCache(cache_megabytes * _MEGABYTE)
        self._trades: BoundedCache[DayTrades] = BoundedCache(48 * _MEGABYTE)
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """A short description, for the line printed at start."""
        return f"generated market, seed {self.seed}, {len(self._symbols)} symbols"

    def symbols(self) -> Sequence[SymbolInfo]:
        """All symbols, including those not listed yet."""
        return [one.info for one in self._symbols.values()]

    def symbol(self, name: str) -> SymbolInfo | None:
        """The symbol with this venue name (BTCUSDT)."""
        one = self._symbols.get(name)
        return one.info if one else None

    # Days ---------------------------------------------------------------------------------------------------------

    def _path(self, one: GeneratedSymbol) -> DailyPath:
        with self._lock:
            path = self._paths.get(one.info.symbol)
            if path is None:
                path = self._paths[one.info.symbol] = daily_path(self.seed, one)
            return path

    def day_trades(self, symbol: str, day_ms: int) -> DayTrades | None:
        """Individual trades of the UTC day that starts at ``day_ms``; None if there are none."""
        one, day = self._symbols[symbol], day_ms // DAY_MS - FIRST_DAY
        path = self._path(one)
        if not 0 <= day < DAYS or not path.trades[day]:
            return None
        return self._trades.get_or_make(
            (symbol, day),
            lambda: make_day(self.seed, one, path, day),
            lambda trades: 26 * len(trades.time_ms),
        )

    def _previous_close(self, symbol: str, day: int) -> int | None:
        path = self._path(self._symbols[symbol])
        # A day's last trade has the price level of midnight, so the previous day need not be generated.
        return int(path.anchors[day]) if day > 0 and path.trades[day - 1] else None

    def day_bars(self, symbol: str, day_ms: int) -> dict[Timeframe, BarColumns]:
        """Bars of one day in all timeframes up to 1d; empty if the symbol is not listed."""
        day = day_ms // DAY_MS - FIRST_DAY

        def make() -> dict[Timeframe, BarColumns]:
            trades = self.day_trades(symbol, day_ms)
            return self._count(symbol, day_ms, trades) if trades else {}

        return self._bars.get_or_make(
            (symbol, day), make, lambda bars: 200 + sum(columns.nbytes for columns in bars.values())
        )

    def _count(
        self, symbol: str, day_ms: int, trades: DayTrades, until_ms: int | None = None
    ) -> dict[Timeframe, BarColumns]:
        day = day_ms // DAY_MS - FIRST_DAY
        minutes = open_minutes(self.seed, self._symbols[symbol].info, day)
        if until_ms is not None:
            minutes[(until_ms - day_ms) // 60_000 + 1 :] = False
        return count_bars(trades, day_ms, minutes, self._previous_close(symbol, day))

    # Bars ---------------------------------------------------------------------------------------------------------

    def columns(self, symbol: str, timeframe: Timeframe, chunk_ms: int) -> BarColumns:
        """Exact integer bars of one chunk."""
        if timeframe is not Timeframe.W1:
            return self.day_bars(symbol, chunk_ms).get(timeframe) or concatenate([])
        days = [self.day_bars(symbol, chunk_ms + day * DAY_MS).get(Timeframe.D1) for day in range(7)]
        week = join_bars([day for day in days if day is not None], chunk_ms)
        return week or concatenate([])

    def bar_text(self, symbol: str, timeframe: Timeframe, chunk_ms: int) -> pl.DataFrame:
        """All bars of one chunk as BAR_TEXT, also those of the future."""
        return self._text(symbol, self.columns(symbol, timeframe, chunk_ms))

    def _text(self, symbol: str, columns: BarColumns) -> pl.DataFrame:
        info = self._symbols[symbol].info
        tick, step = info.tick_decimals, info.step_decimals
        frame = _frame(columns)
        return frame.with_columns(
            *(decimal_text(frame[name], tick) for name in ("open", "high", "low", "close")),
            *(decimal_text(frame[name], step) for name in ("volume", "taker_volume")),
            *(decimal_text(frame[name], tick + step) for name in ("quote_volume", "taker_quote")),
            pl.col("trades").cast(pl.Int64),
        )

    def forming_bar(self, symbol: str, timeframe: Timeframe, now_ms: int) -> pl.DataFrame:
        """The bar that contains ``now_ms``, from trades up to then."""
        day_ms = floor_ms(Timeframe.D1, now_ms)
        opens = floor_ms(timeframe, now_ms)
        trades = self.day_trades(symbol, day_ms)
        today = self._count(symbol, day_ms, trades.until(now_ms), now_ms) if trades else {}
        if timeframe is Timeframe.W1:
            days = [self.day_bars(symbol, ms).get(Timeframe.D1) for ms in range(opens, day_ms, DAY_MS)]
            parts = [part for part in (*days, today.get(Timeframe.D1)) if part is not None]
            return self._text(symbol, join_bars(parts, opens) or concatenate([]))
        return self._text(symbol, today.get(timeframe) or concatenate([])).filter(pl.col("open_ms") == opens)

    def seek(self, symbol: str, timeframe: Timeframe, ms: int, *, forward: bool) -> int | None:
        """The nearest time from ``ms`` on (or back) at which there may be a bar."""
        info = self._symbols[symbol].info
        first = chunk_start(timeframe, info.listed_ms)
        last = (info.delisted_ms or MARKET_END_MS) - 1
        if forward:
            return max(ms, first) if ms <= last else None
        return min(ms, last) if ms >= first else None

    def bars(self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """The true bars of ``[start, end)`` (UTC) in BAR_SCHEMA, also future ones."""
        name, first, last = self._name(symbol), unix_ms(start), unix_ms(end)
        info = self._symbols[name].info
        chunks = range(chunk_start(timeframe, first), last, chunk_width(timeframe))
        columns = concatenate([self.columns(name, timeframe, chunk) for chunk in chunks])
        tick, step = info.tick_decimals, info.step_decimals
        opened = pl.col("open_ms").cast(pl.Datetime("ms", "UTC"))
        frame = _frame(columns).filter(pl.col("open_ms").is_between(first, last, closed="left"))
        return (
            frame.with_columns(
                *(exact_float(frame[name], tick) for name in ("open", "high", "low", "close")),
                *(exact_float(frame[name], step) for name in ("volume", "taker_volume")),
                exact_float(frame["quote_volume"], tick + step),
            )
            .select(
                pl.lit(info.canonical).alias("instrument"),
                opened.alias("open_time"),
                *("open", "high", "low", "close", "volume", "quote_volume"),
                pl.col("taker_volume").alias("taker_buy_volume"),
                pl.col("trades").cast(pl.Int64).alias("trade_count"),
                pl.lit(str(BarOrigin.VENUE_HISTORICAL)).alias("source"),
                pl.lit(True).alias("complete"),
                opened.dt.offset_by(f"{timeframe.minutes}m").alias("revision"),
            )
            .pipe(as_bars)
        )

    def _name(self, symbol: str) -> str:
        base, quote = split_symbol(symbol)
        if base + quote not in self._symbols:
            raise KeyError(f"the generated market has no symbol {symbol!r}")
        return base + quote

    # Trades -------------------------------------------------------------------------------------------------------

    @property
    def trade_width(self) -> int:
        """Trades come by the day."""
        return DAY_MS

    def seek_trade(self, symbol: str, ms: int, *, forward: bool) -> int | None:
        """The nearest time from ``ms`` on (or back) at which there may be a trade."""
        return self.seek(symbol, Timeframe.D1, ms, forward=forward)

    def _aggregates(self, symbol: str, day_ms: int) -> pl.DataFrame:
        trades = self.day_trades(symbol, day_ms)
        if trades is None:
            return pl.DataFrame(schema=dict.fromkeys(_AGGREGATE, pl.Int64) | {"buyer_is_maker": pl.Boolean})
        heads = np.flatnonzero(trades.head)
        ends = np.append(heads[1:], len(trades.head))
        return pl.DataFrame(
            {
                "id": trades.first_aggregate_id + np.arange(len(heads)),
                "price": trades.price[heads],
                "quantity": np.add.reduceat(trades.quantity, heads),
                "first_id": trades.first_id + heads,
                "last_id": trades.first_id + ends - 1,
                "time_ms": trades.time_ms[heads],
                "buyer_is_maker": ~trades.taker_buys[heads],
            }
        )

    def trade_text(self, symbol: str, chunk_ms: int) -> pl.DataFrame:
        """All aggregate trades of one chunk as TRADE_TEXT."""
        info = self._symbols[symbol].info
        frame = self._aggregates(symbol, chunk_ms)
        return frame.with_columns(
            decimal_text(frame["price"], info.tick_decimals), decimal_text(frame["quantity"], info.step_decimals)
        )

    def chunk_of_trade(self, symbol: str, trade_id: int) -> int | None:
        """Start of the day that contains this aggregate trade."""
        path = self._path(self._symbols[symbol])
        # first_aggregate_id is the id after the previous day's last one; equal values are days without trades.
        day = int(np.searchsorted(path.first_aggregate_id, max(trade_id, 1), side="right")) - 1
        return (FIRST_DAY + day) * DAY_MS if day < DAYS else None

    def trades(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """The true aggregate trades of ``[start, end)`` (UTC) in TRADE_SCHEMA, also future ones."""
        name, first, last = self._name(symbol), unix_ms(start), unix_ms(end)
        info = self._symbols[name].info
        chunks = range(first - first % self.trade_width, last, self.trade_width)
        frame = pl.concat([self._aggregates(name, chunk) for chunk in chunks])
        frame = frame.filter(pl.col("time_ms").is_between(first, last, closed="left"))
        return stated_trades(
            frame.with_columns(
                exact_float(frame["price"], info.tick_decimals), exact_float(frame["quantity"], info.step_decimals)
            ),
            info.canonical,
        )


_AGGREGATE = ("id", "price", "quantity", "first_id", "last_id", "time_ms")


def _frame(columns: BarColumns) -> pl.DataFrame:
    return pl.DataFrame({name: getattr(columns, name) for name in BarColumns.__slots__})
