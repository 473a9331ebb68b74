"""Links of the stream: what a fault of this program costs, against the replay exchange."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from crypto_pipeline.ingest.session import Session
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import make_stream
from crypto_pipeline.venues.stream_protocol import Event

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


async def test_a_fault_of_this_program_costs_the_link_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[str] = []
    again = asyncio.Event()
    taken = 0

    def deliver(events: list[Event]) -> None:
        nonlocal taken
        if not lost:
            raise RuntimeError("no place for it")
        taken += len(events)
        again.set()

    async with ReplayExchange(instruments="BTC-USDT", speed=60.0, now=NOW) as exchange:
        settings = Settings(venue="replay", host=exchange.host, replay_port=exchange.port)
        session = Session(make_stream(settings), deliver, lambda _: None, lambda _, reason: lost.append(reason))
        with caplog.at_level(logging.INFO):
            session.start([("BTC-USDT", "BTCUSDT")])
            async with asyncio.timeout(30):
                await again.wait()
            await session.close()
    assert lost[0] == "a fault of this program: RuntimeError('no place for it')"
    assert taken
    assert "a message could not be taken in" in caplog.text
    assert "Traceback" in caplog.text, "where it happened is in the log"
