"""The recorded market: recorded files with their gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import BarOrigin, as_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.market.layouts import (
    RECORDED_BARS,
    RECORDED_TRADES,
    RecordedFile,
    find_files,
    read_bars,
    read_trades,
)
from crypto_pipeline.replay.market.prices import Ints
from crypto_pipeline.replay.market.recorded_series import (
    load_bars,
    load_trades,
    number_text,
    places,
    recorded_minutes,
    with_computed,
)
from crypto_pipeline.replay.market.symbols import DAY_MS, SymbolInfo, split_symbol
from crypto_pipeline.replay.market.tape import BAR_TEXT, TRADE_TEXT, chunk_width, floor_ms, stated_trades

_WEEK_MS = 7 * DAY_MS
_DECIMALS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_volume", "taker_quote")


def recorded_span(source: Path) -> tuple[datetime, datetime]:
    """Start and end (UTC) of all recordings in a folder. Raises ReplayError if there are none."""
    spans = []
    for file in find_files(source):
        width = 0 if file.timeframe is None else file.timeframe.milliseconds
        times = read_trades(file.path)["time_ms"] if file.timeframe is None else read_bars(file.path)["open_ms"]
        if len(times):
            spans.append((int(times.min()), int(times.max()) + width))  # type: ignore[arg-type]
    if not spans:
        raise ReplayError(f"the recorded files in {source} are empty")
    first, end = min(one for one, _ in spans), max(one for _, one in spans)
    return from_unix_ms(first), from_unix_ms(end)


class RecordedMarket:
    """Serves a folder of recordings. ``shift_to`` shifts all of them by whole weeks, to end as late as possible
    before it.
    """

    def __init__(self, source: Path, shift_to: datetime | None = None) -> None:
        self.source = source
        files = find_files(source)
        self._bars = load_bars(files)
        self._trades = load_trades(files)
        for name in self._trades.keys() - self._bars.keys():
            minutes = recorded_minutes(self._trades[name])
            span = int(minutes["open_ms"][0]), int(minutes["open_ms"][-1]) + 60_000
            self._bars[name] = with_computed({Timeframe.M1: minutes}, {Timeframe.M1: [span]})
        self.shift_ms = self._shift(unix_ms(shift_to)) if shift_to is not None else 0
        self._opens = {
            (name, timeframe): frame["open_ms"].to_numpy()
            for name, series in self._bars.items()
            for timeframe, frame in series.items()
        }
        self._infos = {name: self._describe(name, files) for name in sorted(self._bars)}

    @property
    def description(self) -> str:
        """A short description, for the line printed at start."""
        moved = f", shifted by {self.shift_ms // _WEEK_MS} weeks" if self.shift_ms else ""
        return f"recorded in {self.source}, {len(self._infos)} symbols{moved}"

    def _shift(self, moment_ms: int) -> int:
        ends = [
            int(frame["open_ms"][-1]) + timeframe.milliseconds
            for series in self._bars.values()
            for timeframe, frame in series.items()
            if len(frame)
        ]
        by = (moment_ms - max(ends)) // _WEEK_MS * _WEEK_MS
        for series in self._bars.values():
            for timeframe, frame in series.items():
                series[timeframe] = frame.with_columns(pl.col("open_ms") + by)
        for name, frame in self._trades.items():
            self._trades[name] = frame.with_columns(pl.col("time_ms") + by)
        return by

    def _describe(self, name: str, files: list[RecordedFile]) -> SymbolInfo:
        file = next(file for file in files if file.base + file.quote == name)
        frames = [frame for frame in self._bars[name].values() if len(frame)]
        prices = places(np.concatenate([frame["close"].to_numpy() for frame in frames]))
        sizes = places(np.concatenate([frame["volume"].to_numpy() for frame in frames]))
        first = min(int(frame["open_ms"][0]) for frame in frames)
        return SymbolInfo(
            name, file.base, file.quote, 8 if prices is None else prices, 8 if sizes is None else sizes, first
        )

    def symbols(self) -> Sequence[SymbolInfo]:
        """All recorded symbols."""
        return list(self._infos.values())

    def symbol(self, name: str) -> SymbolInfo | None:
        """The symbol with this venue name (BTCUSDT)."""
        return self._infos.get(name)

    # Bars ---------------------------------------------------------------------------------------------------------

    def _frame(self, symbol: str, timeframe: Timeframe, start: int, end: int) -> pl.DataFrame:
        frame = self._bars[symbol].get(timeframe)
        if frame is None:
            return pl.DataFrame(schema=RECORDED_BARS)
        opens = self._opens[symbol, timeframe]
        first = int(np.searchsorted(opens, start))
        return frame.slice(first, max(0, int(np.searchsorted(opens, end)) - first))

    def seek(self, symbol: str, timeframe: Timeframe, ms: int, *, forward: bool) -> int | None:
        """Open time of the nearest recorded bar from ``ms`` on (or back)."""
        opens = self._opens.get((symbol, timeframe))
        return _nearest(opens, ms, forward=forward) if opens is not None else None

    def bar_text(self, symbol: str, timeframe: Timeframe, chunk_ms: int) -> pl.DataFrame:
        """All bars of one chunk as BAR_TEXT; values that were not recorded are 0."""
        return _bar_text(self._frame(symbol, timeframe, chunk_ms, chunk_ms + chunk_width(timeframe)))

    def forming_bar(self, symbol: str, timeframe: Timeframe, now_ms: int) -> pl.DataFrame:
        """The bar that contains ``now_ms``, from the 1m bars ended by then; no bar for 1m itself."""
        opens = floor_ms(timeframe, now_ms)
        over = floor_ms(Timeframe.M1, now_ms)
        minutes = self._frame(symbol, Timeframe.M1, opens, over)
        if timeframe is Timeframe.M1 or not len(minutes):
            return pl.DataFrame(schema=BAR_TEXT)
        from_start = with_computed({Timeframe.M1: minutes}, {Timeframe.M1: [(opens, opens + timeframe.milliseconds)]})
        return _bar_text(from_start[timeframe])

    def bars(self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """The recorded bars of ``[start, end)`` (UTC) in BAR_SCHEMA; values that were not recorded are null."""
        info = self._infos[self._name(symbol)]
        opened = pl.col("open_ms").cast(pl.Datetime("ms", "UTC"))
        frame = self._frame(info.symbol, timeframe, unix_ms(start), unix_ms(end))
        bars = frame.select(
            pl.lit(info.canonical).alias("instrument"),
            opened.alias("open_time"),
            *("open", "high", "low", "close", "volume", "quote_volume"),
            pl.col("taker_volume").alias("taker_buy_volume"),
            pl.col("trades").alias("trade_count"),
            pl.lit(str(BarOrigin.VENUE_HISTORICAL)).alias("source"),
            pl.lit(True).alias("complete"),
            opened.dt.offset_by(f"{timeframe.minutes}m").alias("revision"),
        )
        return as_bars(bars)

    def _name(self, symbol: str) -> str:
        base, quote = split_symbol(symbol)
        if base + quote not in self._infos:
            raise KeyError(f"no recording of {symbol!r} in {self.source}")
        return base + quote

    # Trades -------------------------------------------------------------------------------------------------------

    def _recorded_trades(self, symbol: str) -> pl.DataFrame:
        frame = self._trades.get(symbol)
        return frame if frame is not None else pl.DataFrame(schema=RECORDED_TRADES)

    def seek_trade(self, symbol: str, ms: int, *, forward: bool) -> int | None:
        """Time of the nearest recorded trade from ``ms`` on (or back)."""
        return _nearest(self._recorded_trades(symbol)["time_ms"].to_numpy(), ms, forward=forward)

    @property
    def trade_width(self) -> int:
        """Trades come by the day."""
        return DAY_MS

    def trade_text(self, symbol: str, chunk_ms: int) -> pl.DataFrame:
        """All recorded trades of one day as TRADE_TEXT."""
        frame = self._between(symbol, chunk_ms, chunk_ms + DAY_MS)
        return frame.with_columns(number_text(frame["price"]), number_text(frame["quantity"])).select(*TRADE_TEXT)

    def _between(self, symbol: str, start: int, end: int) -> pl.DataFrame:
        frame = self._recorded_trades(symbol)
        return frame.filter(pl.col("time_ms").is_between(start, end, closed="left"))

    def chunk_of_trade(self, symbol: str, trade_id: int) -> int | None:
        """Start of the day of the first recorded trade with this id or a higher one."""
        later = self._recorded_trades(symbol).filter(pl.col("id") >= trade_id)
        return floor_ms(Timeframe.D1, int(later["time_ms"][0])) if len(later) else None

    def trades(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """The recorded trades of ``[start, end)`` (UTC) in TRADE_SCHEMA."""
        info = self._infos[self._name(symbol)]
        return stated_trades(self._between(info.symbol, unix_ms(start), unix_ms(end)), info.canonical)


def _bar_text(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [number_text(frame[name]) for name in _DECIMALS]
    return frame.with_columns(*texts, pl.col("trades").fill_null(0)).select(*BAR_TEXT)


def _nearest(times: Ints, ms: int, *, forward: bool) -> int | None:
    place = int(np.searchsorted(times, ms)) if forward else int(np.searchsorted(times, ms, side="right")) - 1
    return int(times[place]) if 0 <= place < len(times) else None
