"""Rendered and cached chunks of the tape at the current venue time, for REST and the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.faults.book import RowFaults
from crypto_pipeline.replay.market.prices import Ints
from crypto_pipeline.replay.market.render import RenderedRows, bar_rows, trade_rows
from crypto_pipeline.replay.market.tape import Tape, chunk_start, chunk_width, floor_ms
from crypto_pipeline.replay.wire.cache import BoundedCache

_MEGABYTE = 1 << 20


class Feed:
    """Reads pages of bars and trades from a market at the clock's time; faults change rows of them."""

    def __init__(self, market: Tape, clock: VirtualClock, cache_megabytes: int = 128) -> None:
        self.market, self.clock = market, clock
        self._cache: BoundedCache[RenderedRows] = BoundedCache(cache_megabytes * _MEGABYTE)

    async def _chunk(self, key: tuple[str, str, int], make: Callable[[], RenderedRows]) -> RenderedRows:
        rows = self._cache.get(key)
        if rows is None:
            rows = make()
            self._cache.put(key, rows, rows.nbytes + 256)
            # Rendering takes milliseconds, so other requests may run before.
            await asyncio.sleep(0)
        return rows

    async def _bars(self, symbol: str, timeframe: Timeframe, chunk: int, faults: RowFaults) -> RenderedRows:
        def make() -> RenderedRows:
            return bar_rows(self.market.bar_text(symbol, timeframe, chunk), timeframe)

        if faults.touch(chunk, chunk + chunk_width(timeframe)):
            return bar_rows(faults.bars(self.market.bar_text(symbol, timeframe, chunk), timeframe), timeframe)
        return await self._chunk((symbol, timeframe, chunk), make)

    async def _trades(self, symbol: str, chunk: int, faults: RowFaults) -> RenderedRows:
        if faults.touch(chunk, chunk + self.market.trade_width):
            return trade_rows(faults.trades(self.market.trade_text(symbol, chunk)))
        return await self._chunk((symbol, "trades", chunk), lambda: trade_rows(self.market.trade_text(symbol, chunk)))

    # Bars ---------------------------------------------------------------------------------------------------------

    async def bars(
        self, symbol: str, timeframe: Timeframe, start: int | None, end: int | None, limit: int, faults: RowFaults
    ) -> list[bytes]:
        """Kline JSON of bars with open time in [start, end] (Unix ms): the oldest from ``start``, or the newest to
        ``end``.
        """
        now = self.clock.now_ms()
        forming = floor_ms(timeframe, now)
        last = forming - 1 if end is None else min(end, forming - 1)
        # The forming bar is the newest one.
        newest = self._forming(symbol, timeframe, now, faults) if _within(forming, start, end) else []
        if start is None:
            older = await self._bars_back(symbol, timeframe, last, limit - len(newest), faults)
            return older + newest
        rows = await self._bars_on(symbol, timeframe, start, last, limit, faults)
        return (rows + newest) if _count(rows) < limit else rows

    def _forming(self, symbol: str, timeframe: Timeframe, now: int, faults: RowFaults) -> list[bytes]:
        bar = self.market.forming_bar(symbol, timeframe, now)
        opens = floor_ms(timeframe, now)
        if faults.touch(opens, opens + timeframe.milliseconds):
            bar = faults.bars(bar, timeframe)
        return _pieces(bar_rows(bar, timeframe), 0, len(bar))

    async def _bars_on(
        self, symbol: str, timeframe: Timeframe, start: int, last: int, limit: int, faults: RowFaults
    ) -> list[bytes]:
        pieces: list[bytes] = []
        position = start
        while limit > 0 and (found := self.market.seek(symbol, timeframe, position, forward=True)) is not None:
            chunk = chunk_start(timeframe, found)
            if chunk > last:
                break
            rows = await self._bars(symbol, timeframe, chunk, faults)
            first = int(np.searchsorted(rows.keys, start))
            stop = min(first + limit, int(np.searchsorted(rows.keys, last, side="right")))
            pieces += _pieces(rows, first, stop)
            limit -= max(0, stop - first)
            position = chunk + chunk_width(timeframe)
        return pieces

    async def _bars_back(
        self, symbol: str, timeframe: Timeframe, last: int, limit: int, faults: RowFaults
    ) -> list[bytes]:
        async def read(found: int) -> tuple[int, RenderedRows, Ints]:
            chunk = chunk_start(timeframe, found)
            rows = await self._bars(symbol, timeframe, chunk, faults)
            return chunk, rows, rows.keys

        def seek(position: int) -> int | None:
            return self.market.seek(symbol, timeframe, position, forward=False)

        return await _newest(seek, read, last, limit)

    # Trades -------------------------------------------------------------------------------------------------------

    async def trades_from(self, symbol: str, trade_id: int, limit: int, faults: RowFaults) -> list[bytes]:
        """Aggregate trades from ``trade_id`` on, as JSON."""
        chunk = self.market.chunk_of_trade(symbol, trade_id)
        if chunk is None:
            return []
        return await self._trades_on(symbol, chunk, self.clock.now_ms(), limit, faults, first_id=trade_id)

    async def trades(
        self, symbol: str, start: int | None, end: int | None, limit: int, faults: RowFaults
    ) -> list[bytes]:
        """Aggregate trades with time in [start, end] (Unix ms): the oldest from ``start``, or the newest to ``end``."""
        last = self.clock.now_ms() if end is None else min(end, self.clock.now_ms())
        if start is not None:
            return await self._trades_on(symbol, start, last, limit, faults)

        async def read(found: int) -> tuple[int, RenderedRows, Ints]:
            chunk = found - found % self.market.trade_width
            rows = await self._trades(symbol, chunk, faults)
            return chunk, rows, rows.times

        def seek(position: int) -> int | None:
            return self.market.seek_trade(symbol, position, forward=False)

        return await _newest(seek, read, last, limit)

    async def _trades_on(
        self, symbol: str, start: int, last: int, limit: int, faults: RowFaults, first_id: int = 0
    ) -> list[bytes]:
        pieces: list[bytes] = []
        position = start
        while limit > 0 and (found := self.market.seek_trade(symbol, position, forward=True)) is not None:
            chunk = found - found % self.market.trade_width
            if chunk > last:
                break
            rows = await self._trades(symbol, chunk, faults)
            first = max(int(np.searchsorted(rows.times, start)), int(np.searchsorted(rows.keys, first_id)))
            stop = min(first + limit, int(np.searchsorted(rows.times, last, side="right")))
            pieces += _pieces(rows, first, stop)
            limit -= max(0, stop - first)
            position = chunk + self.market.trade_width
        return pieces

    # Archive ------------------------------------------------------------------------------------------------------

    async def period_bars(
        self, symbol: str, timeframe: Timeframe, start: int, end: int, faults: RowFaults
    ) -> pl.DataFrame:
        """All bars of [start, end) as BAR_TEXT."""
        parts = []
        for chunk in range(chunk_start(timeframe, start), end, chunk_width(timeframe)):
            parts.append(self.market.bar_text(symbol, timeframe, chunk))
            await asyncio.sleep(0)
        bars = pl.concat(parts).filter(pl.col("open_ms").is_between(start, end, closed="left"))
        return faults.bars(bars, timeframe) if faults.touch(start, end) else bars

    async def period_trades(self, symbol: str, start: int, end: int, faults: RowFaults) -> pl.DataFrame:
        """All aggregate trades of [start, end) as TRADE_TEXT."""
        parts = []
        for chunk in range(start, end, self.market.trade_width):
            parts.append(self.market.trade_text(symbol, chunk))
            await asyncio.sleep(0)
        trades = pl.concat(parts)
        return faults.trades(trades) if faults.touch(start, end) else trades


def _within(ms: int, start: int | None, end: int | None) -> bool:
    return (start is None or ms >= start) and (end is None or ms <= end)


class _Piece(bytes):
    """Rendered rows with their number."""

    rows: int


async def _newest(
    seek: Callable[[int], int | None],
    read: Callable[[int], Awaitable[tuple[int, RenderedRows, Ints]]],
    last: int,
    limit: int,
) -> list[bytes]:
    """The newest ``limit`` rows up to ``last`` (ms), oldest first.

    ``seek`` returns the newest time of a row at or before a time; ``read`` the chunk that contains it: its start, its
    rows, and their times.
    """
    pieces: list[list[bytes]] = []
    position = last
    while limit > 0 and (found := seek(position)) is not None:
        chunk, rows, times = await read(found)
        stop = int(np.searchsorted(times, last, side="right"))
        first = max(0, stop - limit)
        pieces.append(_pieces(rows, first, stop))
        limit -= stop - first
        position = chunk - 1
    return [piece for part in reversed(pieces) for piece in part]


def _pieces(rows: RenderedRows, first: int, stop: int) -> list[bytes]:
    if stop <= first:
        return []
    piece = _Piece(rows.cut(first, stop))
    piece.rows = stop - first
    return [piece]


def _count(pieces: list[bytes]) -> int:
    return sum(piece.rows for piece in pieces if isinstance(piece, _Piece))
