"""A generated exchange that streams, a real database, and ingests between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.ingest.after_minute import OnMinute
from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.instruments import ListingRow

# In the middle of an hour in which the generated market has no outage.
NOW = datetime(2026, 11, 18, 10, 30, 20, tzinfo=UTC)
VALUES = ["open", "high", "low", "close", "trade_count", "volume", "quote_volume", "taker_buy_volume"]


class Desk:
    """One exchange, one database."""

    def __init__(self, exchange: ReplayExchange, store: Store, symbols: list[str], **settings: Any) -> None:
        self.exchange, self.store, self.symbols = exchange, store, symbols
        options: dict[str, Any] = {"request_attempts": 3, "request_timeout": 5.0, "ingest_recover_seconds": 3600.0}
        self.settings = Settings(
            venue="replay",
            replay_port=exchange.port,
            replay_speed=max(exchange.clock.speed, 1e-3),
            **(options | settings),
        )
        store.instruments.add([Instrument.crypto(symbol) for symbol in symbols])
        store.instruments.set_listings("replay", [ListingRow(symbol, symbol.replace("-", "")) for symbol in symbols])

    @asynccontextmanager
    async def ingesting(self, on_minute: OnMinute | None = None, **options: Any) -> AsyncIterator[asyncio.Task[str]]:
        """An ingest that runs during the block and is stopped well at its end."""
        stop = asyncio.Event()
        options = {"store": self.store, **options}
        task = asyncio.create_task(run_ingest(self.settings, stop=stop, on_minute=on_minute, **options))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)

    async def until(self, reached: Callable[[], bool | Awaitable[bool]], patience: float = 40) -> None:
        """Wait until it is so."""
        until = time.monotonic() + patience
        while not await asyncio.to_thread(reached):
            assert time.monotonic() < until, "it did not happen in time"
            await asyncio.sleep(0.05)

    async def first_whole_minute(self) -> datetime:
        """Wait until ingest is live; the first minute that it sees from its start."""
        await self.until(lambda: self.state() == "live")
        return Timeframe.M1.ceil(self.exchange.clock.now())

    def state(self) -> str:
        beat = self.store.heartbeats.get("ingest-0")
        return beat.detail["state"] if beat is not None else ""

    def bars(self, start: datetime, end: datetime) -> pl.DataFrame:
        return self.store.reader.read(self.symbols, Timeframe.M1, start, end).sort("instrument", "open_time")

    def trades(self, start: datetime, end: datetime) -> pl.DataFrame:
        return self.store.trades.read("replay", self.symbols, start, end).sort("instrument", "trade_id")

    def true_bars(self, start: datetime, end: datetime) -> pl.DataFrame:
        tape = [self.exchange.tape.bars(symbol, Timeframe.M1, start, end) for symbol in self.symbols]
        return pl.concat(tape).sort("instrument", "open_time")

    def true_trades(self, start: datetime, end: datetime) -> pl.DataFrame:
        return pl.concat([self.exchange.tape.trades(symbol, start, end) for symbol in self.symbols]).sort(
            "instrument", "trade_id"
        )

    async def reach(self, start: datetime, end: datetime, patience: float = 60) -> pl.DataFrame:
        """Wait until ``check`` holds; what it says when it never does is the failure."""
        until = time.monotonic() + patience
        while True:
            try:
                return await asyncio.to_thread(self.check, start, end)
            except AssertionError:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.2)

    def check(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Trades and bars of the span equal the tape; returns the bars."""
        ours, tape = self.trades(start, end), self.true_trades(start, end)
        key = ["instrument", "trade_id"]
        assert ours.join(tape, on=key, how="anti").rows() == []
        assert tape.join(ours, on=key, how="anti").rows() == []
        assert ours.equals(tape)
        bars, truth = self.bars(start, end), self.true_bars(start, end)
        key = ["instrument", "open_time"]
        assert truth.join(bars, on=key, how="anti").select(key).rows() == []
        assert bars.join(truth, on=key, how="anti").select(key).rows() == []
        assert bars["complete"].all(), bars.filter(~pl.col("complete")).select(*key, "source", "revision").rows()
        both = bars.join(truth, on=key, suffix="_true")
        for name in VALUES:
            wrong = both.filter((pl.col(name) - pl.col(f"{name}_true")).abs() > 1e-9 * pl.col(f"{name}_true").abs())
            assert wrong.select(*key, "source", name, f"{name}_true").rows() == []
        return bars


@pytest.fixture
def make_desk(postgres_url: str) -> Iterator[Callable[..., Desk]]:
    open_things: list[Any] = []

    def make(symbols: int | list[str] = 6, *, settings: dict[str, Any] | None = None, **options: Any) -> Desk:
        options = {"now": NOW, "weight_limit": 0, "speed": 1.0, **options}
        context = running_exchange("generated", **options)
        exchange = context.__enter__()
        open_things.append(context)
        store = Store(postgres_url)
        open_things.append(store)
        if isinstance(symbols, int):
            symbols = [info.canonical for info in exchange.market.symbols()[:symbols]]
        return Desk(exchange, store, symbols, **(settings or {}))

    yield make
    for thing in reversed(open_things):
        thing.__exit__(None, None, None)
