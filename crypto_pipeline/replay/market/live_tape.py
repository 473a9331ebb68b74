"""One symbol's tape for the streams: trades since the last call, and the bar of the current minute."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.symbols import DAY_MS, SymbolInfo
from crypto_pipeline.replay.market.tape import BAR_TEXT, TRADE_TEXT, Tape
from crypto_pipeline.replay.wire.frames import PLACES, KlineValues, TradeRow, from_units, kline, to_units

MINUTE_MS = 60_000
UPDATE_MS = 2_000
_WINDOW = 512
NEVER = 1 << 62


class TradeCursor:
    """Returns the trades after a moment in order, each once."""

    def __init__(self, market: Tape, symbol: str, after_ms: int) -> None:
        self.market, self.symbol = market, symbol
        self._frame = pl.DataFrame(schema=TRADE_TEXT)
        self._ahead: tuple[int, pl.DataFrame] | None = None
        self._window: list[TradeRow] = []
        self._at = self._place = 0
        self._chunk_end = 0
        self.next_ms = NEVER
        self._load(after_ms + 1)

    def _load(self, from_ms: int) -> None:
        """Load the chunk of the first possible trade at or after ``from_ms``."""
        width = self.market.trade_width
        found = self.market.seek_trade(self.symbol, from_ms, forward=True)
        self._window, self._at = [], 0
        if found is None:
            self._frame, self._place, self._chunk_end, self.next_ms = self._frame.clear(), 0, NEVER, NEVER
            return
        chunk = found - found % width
        self._chunk_end = chunk + width
        self._frame = self._made(chunk)
        self._place = int(np.searchsorted(self._frame["time_ms"].to_numpy(), from_ms))
        self._refill()

    def _made(self, chunk: int) -> pl.DataFrame:
        if self._ahead is not None and self._ahead[0] == chunk:
            return self._ahead[1]
        return self.market.trade_text(self.symbol, chunk).select(*TRADE_TEXT)

    def prepare(self, now_ms: int, horizon_ms: int) -> bool:
        """Make the next chunk if it begins within ``horizon_ms``; True if it was made now."""
        chunk = self._chunk_end
        if chunk - now_ms > horizon_ms or (self._ahead is not None and self._ahead[0] == chunk):
            return False
        if self.market.seek_trade(self.symbol, chunk, forward=True) != chunk:
            return False
        self._ahead = chunk, self._made(chunk)
        return True

    def _refill(self) -> None:
        self._window = self._frame.slice(self._place, _WINDOW).rows()
        self._place, self._at = self._place + len(self._window), 0
        self.next_ms = self._window[0][5] if self._window else self._chunk_end

    def advance(self, now_ms: int, most: int = NEVER) -> list[TradeRow]:
        """Next trades up to and including ``now_ms``; about ``most`` of them, the rest with the next call."""
        found: list[TradeRow] = []
        while self.next_ms <= now_ms and len(found) < most:
            if not self._window:
                self._load(self._chunk_end)
                continue
            if self._at == 0 and self._window[-1][5] <= now_ms:
                found += self._window
                self._refill()
                continue
            at, window = self._at, self._window
            while at < len(window) and window[at][5] <= now_ms:
                at += 1
            found += window[self._at : at]
            self._at = at
            if at == len(window):
                self._refill()
            else:
                self.next_ms = window[at][5]
        return found


@dataclass(slots=True)
class MinuteBar:
    """A 1m bar built trade by trade, in whole units of 10^-8."""

    open_ms: int
    first_id: int = -1
    last_id: int = -1
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0
    quote: int = 0
    taker: int = 0
    taker_quote: int = 0

    def add(self, row: TradeRow) -> None:
        """Count one aggregate trade."""
        _, price_text, quantity_text, first, last, _, maker = row
        price, quantity = to_units(price_text), to_units(quantity_text)
        if self.first_id < 0:
            self.first_id, self.open, self.high, self.low = first, price, price, price
        self.last_id, self.close = last, price
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.volume += quantity
        self.quote += price * quantity
        if not maker:
            self.taker += quantity
            self.taker_quote += price * quantity

    def values(self, previous_close: str) -> KlineValues:
        """The values of a kline message; flat at ``previous_close`` before the first trade."""
        if self.first_id < 0:
            zero = from_units(0)
            return previous_close, previous_close, previous_close, previous_close, zero, zero, 0, zero, zero
        return (
            from_units(self.open),
            from_units(self.high),
            from_units(self.low),
            from_units(self.close),
            from_units(self.volume),
            from_units(self.quote // PLACES),
            self.last_id - self.first_id + 1,  # ids of single trades are contiguous, so their difference counts trades
            from_units(self.taker),
            from_units(self.taker_quote // PLACES),
        )


class MinuteBars:
    """The ``@kline_1m`` messages of one symbol: an update every two seconds, and one with the final bar of each
    minute.
    """

    def __init__(self, market: Tape, info: SymbolInfo, now_ms: int) -> None:
        self.market, self.info = market, info
        #: Milliseconds between a minute's end and its final message: from 4 ms to 2 s, different for each symbol.
        self.phase_ms = 4 + zlib.crc32(info.symbol.encode()) % (UPDATE_MS - 4)
        self.next_ms = now_ms + 1 + (self.phase_ms - now_ms - 1) % UPDATE_MS
        self._over: list[MinuteBar] = []
        self._day, self._bars, self._opens = -1, pl.DataFrame(), np.zeros(0, dtype=np.int64)
        self._minute = MinuteBar(now_ms - now_ms % MINUTE_MS)
        for row in TradeCursor(market, info.symbol, self._minute.open_ms - 1).advance(now_ms):
            self._minute.add(row)

    def count(self, rows: list[TradeRow]) -> None:
        """Count trades, in order."""
        for row in rows:
            self._roll(row[5])
            self._minute.add(row)

    def _roll(self, ms: int) -> None:
        while ms >= self._minute.open_ms + MINUTE_MS:
            self._over.append(self._minute)
            self._minute = MinuteBar(self._minute.open_ms + MINUTE_MS)

    def messages(self, now_ms: int) -> list[str]:
        """Messages that are due: the final ones of ended minutes, otherwise an update."""
        if now_ms < self.next_ms:
            return []
        due = now_ms - (now_ms - self.next_ms) % UPDATE_MS
        self.next_ms = due + UPDATE_MS
        self._roll(due)
        if not self._over:
            messages = [self._update(due)]
        else:
            messages = [self._closing(one) for one in self._over if one.open_ms + MINUTE_MS <= due]
            self._over = [one for one in self._over if one.open_ms + MINUTE_MS > due]
        return [message for message in messages if message is not None]

    def _closing(self, minute: MinuteBar) -> str | None:
        """The final message with the market's own bar, as REST returns it; None if the market has no bar."""
        place = self._find(minute.open_ms)
        if place is None:
            return None
        values: KlineValues = self._bars.row(place)[1:]
        event = minute.open_ms + MINUTE_MS + self.phase_ms
        return kline(self.info.symbol, event, minute.open_ms, (minute.first_id, minute.last_id), True, values)

    def _update(self, now_ms: int) -> str | None:
        minute = self._minute
        place = self._find(minute.open_ms)
        if place is None:
            return None
        if minute.first_id < 0 and place == 0 and self._bars["trades"][0] > 0:
            # Before the day's first trade, the first minute's flat price is the previous day's close.
            before = self.market.bar_text(self.info.symbol, Timeframe.M1, self._day - DAY_MS)
            if not len(before):
                return None
            previous = before["close"][-1]
        else:
            # The market's bar of a minute without trades already has the previous close.
            silent = place == 0 or self._bars["trades"][place] == 0
            previous = self._bars["close"][place if silent else place - 1]
        if minute.first_id < 0 and self._bars["volume"][place] != _ZERO and not self._bars["trades"][place]:
            return None  # recorded without trades: only the final bar is known
        ids = (minute.first_id, minute.last_id)
        return kline(self.info.symbol, now_ms, minute.open_ms, ids, False, minute.values(previous))

    def _find(self, open_ms: int) -> int | None:
        """Index of this minute among the market's bars of its day."""
        day = open_ms - open_ms % DAY_MS
        if day != self._day:
            self.prepare(day)
        place = int(np.searchsorted(self._opens, open_ms))
        return place if place < len(self._opens) and self._opens[place] == open_ms else None

    def prepare(self, day: int) -> None:
        """Load the bars of ``day``."""
        self._day = day
        self._bars = self.market.bar_text(self.info.symbol, Timeframe.M1, day).select(*BAR_TEXT)
        self._opens = self._bars["open_ms"].to_numpy()


_ZERO = from_units(0)
