"""A scripted Binance on a real socket, and the client under test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest_asyncio

from crypto_pipeline.venues import BinanceSpot, RequestBudget, RequestPolicy
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue

#: Patient enough to repeat, too hasty to make anyone wait; tests of silence shorten the timeout.
HASTY = RequestPolicy(
    timeout=5, attempts=4, concurrency=4, wait_initial=0.005, wait_max=0.02, wait_jitter=0.005, breaker_threshold=3,
    breaker_recovery=0.3,
)  # fmt: skip


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedVenue]:
    async with ScriptedVenue() as running:
        yield running


@pytest_asyncio.fixture
async def make(server: ScriptedVenue) -> AsyncIterator[Callable[..., BinanceSpot]]:
    made: list[BinanceSpot] = []

    def build(budget: RequestBudget | None = None, archive_min_days: int = 3, **policy: Any) -> BinanceSpot:
        venue = BinanceSpot(
            server.url, server.url, budget, archive_min_days=archive_min_days, policy=replace(HASTY, **policy)
        )
        made.append(venue)
        return venue

    yield build
    for venue in made:
        await venue.close()
