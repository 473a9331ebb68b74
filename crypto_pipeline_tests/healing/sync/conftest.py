"""Stocks of a venue without a stream: a server that speaks Massive's protocol, a database, pipelines between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import polars as pl
import pytest

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.server import MassiveServer
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.massive_beside import massive_beside
from crypto_pipeline_tests.builders.massive_server import KEY

T = TypeVar("T")
NAMES = ("AAPL", "IBM", "JPM")
#: A Friday in the session; the minute before is final by the venue's clock.
NOW = datetime(2024, 7, 5, 17, 30, 40, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VALUES = ("open", "high", "low", "close", "volume")


@dataclass
class Stocks:
    """One server, one store; ``run`` opens a pipeline between them."""

    server: MassiveServer
    url: str
    store: Store
    days: int = 2

    @property
    def settings(self) -> Settings:
        return Settings(
            venue="massive", massive_url=self.url, massive_key=KEY, massive_feed="realtime",
            massive_requests_per_minute=60_000, days=self.days, heal_backoff=0.001, request_timeout=30.0,
            request_attempts=1,
        )  # fmt: skip

    def run(self, work: Callable[[Pipeline], Awaitable[T]]) -> T:
        async def main() -> T:
            async with Pipeline.open(self.store, self.settings) as pipeline:
                return await work(pipeline)

        return asyncio.run(main())

    def truth(self, name: str, start: datetime, end: datetime) -> list[tuple[object, ...]]:
        """Minutes of the tape in ``[start, end)``: open time and values."""
        rows = self.server.tape.minutes(name, start.date(), end.date())
        low, high = (int(moment.timestamp()) * 1000 for moment in (start, end))
        return rows.filter(pl.col("t").is_between(low, high, closed="left")).select("t", "o", "h", "l", "c", "v").rows()

    def stored(self, name: str, start: datetime, end: datetime) -> list[tuple[object, ...]]:
        """Minutes in history, as ``truth`` has them."""
        bars = self.store.reader.read([name], Timeframe.M1, start, end)
        return bars.select(pl.col("open_time").to_physical(), *VALUES).rows()

    def waiting(self, name: str) -> list[tuple[object, ...]]:
        """Minutes of price updates that are not in history yet, as ``truth`` has them."""
        bars = self.store.price_updates.waiting("massive", 100_000).filter(instrument=name)
        return bars.select(pl.col("open_time").to_physical(), *VALUES).rows()

    def prices(self) -> dict[str, tuple[datetime, float]]:
        rows = self.store.live.prices(list(NAMES)).select("instrument", "open_time", "last_price").rows()
        return {name: (opened, price) for name, opened, price in rows}


@pytest.fixture
def stocks(postgres_url: str) -> Iterator[Stocks]:
    tape = GeneratedStocks([Stock(name, date(2024, 6, 20)) for name in NAMES])
    with massive_beside(tape, NOW) as (server, url), Store(postgres_url) as store:
        store.instruments.add(Instrument.stock(name) for name in NAMES)
        made = Stocks(server, url, store)
        made.run(lambda pipeline: pipeline.sync_instruments())
        yield made
