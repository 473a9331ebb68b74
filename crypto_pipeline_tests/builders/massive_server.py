"""A MassiveServer on a real socket of this machine, for tests of an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

from crypto_pipeline.replay import VirtualClock
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.server import MassiveServer
from crypto_pipeline.replay.massive.tape import StockTape
from crypto_pipeline.venues import MassiveStocks, MemoryBudget, RequestPolicy
from crypto_pipeline.venues.protocol import BudgetLimit

KEY = "a-key-of-this-test"


@asynccontextmanager
async def massive(
    tape: StockTape, now: datetime, plans: Mapping[str, Plan] | None = None
) -> AsyncIterator[tuple[MassiveServer, str]]:
    """The server at ``now``, and its address."""
    server = MassiveServer(tape, VirtualClock(start=now.astimezone(UTC)), plans or {KEY: Plan()})
    runner = web.AppRunner(server.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def client(url: str, key: str = KEY, *, delay: timedelta = timedelta(0), attempts: int = 2) -> MassiveStocks:
    """A client without a limit of its own."""
    policy = RequestPolicy(timeout=10, attempts=attempts, wait_initial=0.01, wait_max=0.05, wait_jitter=0.0)
    return MassiveStocks(
        key, url, MemoryBudget(BudgetLimit(100_000)), requests_per_minute=60_000, delay=delay,
        policy=policy,
    )  # fmt: skip
