"""A generated exchange on a real socket, a real database, and pipelines between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market import Instrument
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

T = TypeVar("T")
# Inside the last three days of the generated market one instrument is listed (HIPPO) and one delisted (TREMP).
NOW = datetime(2026, 11, 20, 10, 30, 20, tzinfo=UTC)


class Bench:
    """One exchange and one store; ``run`` opens a pipeline between them."""

    def __init__(self, exchange: ReplayExchange, store: Store, **settings: Any) -> None:
        self.exchange, self.store = exchange, store
        options: dict[str, Any] = {"days": 3, "heal_backoff": 0.001, "request_attempts": 4, "request_timeout": 5.0}
        self.settings = Settings(venue="replay", replay_port=exchange.port, **(options | settings))

    def collect(self, *symbols: str) -> None:
        """Add instruments and take over what the exchange says of them."""
        self.store.instruments.add([Instrument.crypto(symbol) for symbol in symbols])
        self.run(lambda pipeline: pipeline.sync_instruments())

    def run(self, work: Callable[[Pipeline], Awaitable[T]]) -> T:
        """Run ``work`` with a fresh pipeline."""

        async def main() -> T:
            async with Pipeline.open(self.store, self.settings) as pipeline:
                return await work(pipeline)

        return asyncio.run(main())


@pytest.fixture
def second() -> Iterator[ReplayExchange]:
    """Another exchange with another market: no price of it is the first one's."""
    with running_exchange("generated", now=NOW, weight_limit=0, seed=2, instruments="BTCUSDT,ETHUSDT") as exchange:
        yield exchange


@pytest.fixture
def make_bench(postgres_url: str) -> Iterator[Callable[..., Bench]]:
    """``make_bench(exchange options, settings={…})``; the clock of the exchange stands at NOW unless told otherwise."""
    open_things: list[Any] = []

    def make(*, settings: dict[str, Any] | None = None, **options: Any) -> Bench:
        options = {"now": NOW, "weight_limit": 0, **options}
        context = running_exchange(options.pop("source", "generated"), **options)
        exchange = context.__enter__()
        open_things.append(context)
        store = Store(postgres_url)
        open_things.append(store)
        return Bench(exchange, store, **(settings or {}))

    yield make
    for thing in reversed(open_things):
        thing.__exit__(None, None, None)
