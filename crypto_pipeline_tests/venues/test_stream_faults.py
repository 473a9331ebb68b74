"""Our stream client against the replay exchange's faults, and the recorded sessions played to it over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.venues import (
    BinanceStream,
    Event,
    LiveTrade,
    Notice,
    StreamClosed,
    StreamConnection,
    StreamPlan,
    StreamRefused,
    VenueUnavailable,
)
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.client.frame_parser import FrameParser
from crypto_pipeline.venues.client.websocket import SocketOpener, WebSocketConnection
from crypto_pipeline.venues.coinbase.stream import CoinbaseFrames
from crypto_pipeline.venues.kraken.stream_v1 import KrakenV1Frames
from crypto_pipeline_tests.venues.test_recorded_streams import frames

#: The generated market has quiet hours, with few trades; this is none.
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PLAN = StreamPlan([("BTC-USDT", "BTCUSDT"), ("ETH-USDT", "ETHUSDT")])


@asynccontextmanager
async def exchange(**options: Any) -> AsyncIterator[tuple[ReplayExchange, BinanceStream]]:
    async with ReplayExchange(instruments="BTC-USDT,ETH-USDT", speed=30.0, now=NOW, **options) as running:
        stream = BinanceStream(running.ws_url, name="replay", silence_limit=1.0)
        yield running, stream
        await stream.close()


async def read(
    connection: StreamConnection, trades: int = 1 << 30, most: float = 20
) -> tuple[list[Event], VenueUnavailable | None]:
    """Events until so many trades came, or until the end."""
    events: list[Event] = []
    seen = 0
    try:
        async with asyncio.timeout(most):
            async for several in connection.events():
                events.extend(several)
                seen += sum(isinstance(event, LiveTrade) for event in several)
                if seen >= trades:
                    return events, None
    except (StreamClosed, StreamRefused) as error:
        return events, error
    raise AssertionError("the events ended without an error")


@pytest.mark.parametrize("manner", ["abort", "close", "half"])
async def test_cut(manner: str) -> None:
    async with exchange() as (running, stream):
        connection = await stream.connect(PLAN)
        running.control({"kind": "ws_cut", "manner": manner, "count": 1})
        _, error = await read(connection)
        assert isinstance(error, StreamClosed)
        again = await stream.connect(PLAN)
        assert (await read(again, trades=3))[1] is None
        await again.close()


async def test_frozen_without_closing() -> None:
    async with exchange() as (running, stream):
        connection = await stream.connect(PLAN)
        await read(connection, trades=2)
        running.control({"kind": "ws_freeze"})
        _, error = await read(await stream.connect(PLAN))
        assert "no message for 1 s" in str(error)


@pytest.mark.parametrize("manner", ["refuse", "http", "evict"])
async def test_one_connection_too_many(manner: str) -> None:
    async with exchange() as (running, stream):
        running.control({"kind": "ws_refuse", "connections": 1, "manner": manner, "retry_after": 5})
        first = await stream.connect(PLAN)
        reading = asyncio.create_task(read(first, trades=1 << 30))
        await asyncio.sleep(0.2)
        error: VenueUnavailable | None = None
        try:
            second = await stream.connect(PLAN)
            if manner == "evict":
                _, error = await reading
                assert (await read(second, trades=2))[1] is None
            else:
                _, error = await read(second)
        except StreamRefused as refused:
            error = refused
        assert isinstance(error, StreamRefused if manner != "evict" else VenueUnavailable)
        if manner == "http":
            assert error.retry_after == 5
        else:
            assert "maximum number of connections" in str(error).lower()
        reading.cancel()


async def test_maintenance_is_announced_then_closed() -> None:
    async with exchange() as (running, stream):
        connection = await stream.connect(PLAN)
        running.control({"kind": "ws_maintenance", "closes_after": 0.3, "down_seconds": 30, "count": 1})
        events, error = await read(connection)
        assert [event.kind for event in events if isinstance(event, Notice)][-1] == "shutdown"
        assert error is not None
        with pytest.raises(StreamRefused):
            await stream.connect(PLAN)


@pytest.mark.parametrize("manner", ["half", "body", "binary"])
async def test_malformed(manner: str) -> None:
    async with exchange() as (running, stream):
        running.control({"kind": "ws_malformed", "manner": manner, "count": 4})
        connection = await stream.connect(PLAN)
        events, error = await read(connection, trades=30)
        assert error is None
        counted = connection.counters["malformed"] + connection.counters["unknown"]
        unknown = [event for event in events if isinstance(event, Notice) and event.kind == "unknown"]
        assert counted == len(unknown) == 4, "none of them fatal"


PRODUCTS = "BAND-BTC BAND-GBP CRV-EUR DASH-BTC NMR-EUR NU-GBP SKL-BTC SKL-GBP SKL-USD YFI-BTC"
PAIRS = "WAVES/EUR XMR/USD KSM/XBT GRT/ETH SC/EUR ETH/CHF OCEAN/XBT OMG/USD XBT/CHF ADA/XBT"
SESSIONS: dict[str, tuple[type[FrameParser], list[tuple[str, str]]]] = {
    "binance/BINANCE.ws.1.0": (BinanceFrames, [(n, n.replace("-", "")) for n in ("NKN-USDT", "LRC-BTC")]),
    "binance_spot/btcusdt_20240808": (BinanceFrames, [("BTC-USDT", "BTCUSDT")]),
    "coinbase/COINBASE.ws.28.0": (CoinbaseFrames, [(name, name) for name in PRODUCTS.split()]),
    "kraken/KRAKEN.ws.48.0": (KrakenV1Frames, [(pair.replace("/", "-"), pair) for pair in PAIRS.split()]),
}


@pytest.mark.realdata
@pytest.mark.parametrize("session", SESSIONS)
async def test_recorded_sessions_over_a_socket(recorded_data: Path, session: str) -> None:
    kind, instruments = SESSIONS[session]
    opener = SocketOpener("playback")
    async with ReplayExchange(instruments="BTC-USDT", captures=recorded_data / "captures") as running:
        socket = await opener.open(f"{running.ws_url}/playback/{session}?speed=0")
        connection = WebSocketConnection("playback", socket, kind(instruments), silence_limit=5)
        events, error = await read(connection)
        await opener.close()
    assert isinstance(error, StreamClosed)
    alone = kind(instruments)
    expected = [event for frame in frames(recorded_data / "captures" / f"{session}.gz") for event in alone.parse(frame)]
    played = [event for event in events if isinstance(event, LiveTrade)]
    assert played == [event for event in expected if isinstance(event, LiveTrade)]
    assert connection.counters["trades"] == len(played) > 0
    assert connection.counters["unknown"] == connection.counters["malformed"] == 0
