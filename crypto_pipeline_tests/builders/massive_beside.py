"""A MassiveServer in a thread of its own, for tests that run event loops or processes of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from crypto_pipeline.replay.massive.server import MassiveServer, Plan
from crypto_pipeline.replay.massive.tape import StockTape
from crypto_pipeline_tests.builders.massive_server import massive


@contextmanager
def massive_beside(
    tape: StockTape, now: datetime, plans: Mapping[str, Plan] | None = None
) -> Iterator[tuple[MassiveServer, str]]:
    """The server, whose clock stands still at ``now`` until it is set, and its address."""
    started, made = threading.Event(), list[tuple[MassiveServer, str]]()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with massive(tape, now, plans) as server:
            server[0].clock.set(now=now, speed=0)
            made.append(server)
            started.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
