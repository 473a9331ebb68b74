"""Massive's streams: frames as events, the key, refusals that say what helps, and delayed plans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import make_stream
from crypto_pipeline.venues.client.websocket import WebSocketConnection
from crypto_pipeline.venues.massive.stream import SECOND, MassiveFrames, MassiveStream
from crypto_pipeline.venues.stream_protocol import (
    Event,
    LastingRefusal,
    LiveBar,
    LiveTrade,
    Notice,
    StreamPlan,
)

#: In the session of New York.
NOW = datetime(2024, 7, 8, 15, 0, 57, tzinfo=UTC)
PLAN = StreamPlan([("AAPL", "AAPL"), ("BRK-B", "BRK.B")])


def parse(market: str, *rows: object) -> list[Event]:
    names = {"stocks": [("GTE", "GTE"), ("MSFT", "MSFT")], "crypto": [("BTC-USD", "X:BTCUSD"), ("BCD-USD", "X:BCDUSD")]}
    return MassiveFrames(names[market], market).parse(json.dumps(rows))


def test_published_examples_become_bars_and_trades() -> None:
    minute = {"ev": "AM", "sym": "GTE", "v": 4110, "av": 9470157, "op": 0.4372, "vw": 0.4488, "o": 0.4488, "c": 0.4486,
              "h": 0.4489, "l": 0.4486, "a": 0.4352, "z": 685, "s": 1610144640000, "e": 1610144700000}  # fmt: skip
    second = minute | {"ev": "A", "s": 1610144640000, "e": 1610144641000}
    trade = {"ev": "T", "sym": "MSFT", "x": 4, "i": "12345", "z": 3, "p": 114.125, "s": 100, "c": [0, 14],
             "t": 1536036818784, "q": 3681328}  # fmt: skip
    values = (0.4488, 0.4489, 0.4486, 0.4486, 4110, None, None, None, None, None, True)
    assert parse("stocks", minute, second, trade, trade) == [
        LiveBar("GTE", "1m", 1610144640000, *values, 1610144700000),
        LiveBar("GTE", SECOND, 1610144640000, *values, 1610144641000),
        *(LiveTrade("MSFT", number, number, number, 1536036818784, 114.125, 100, False)
          for number in (1536036818784000, 1536036818784001)),
    ]  # fmt: skip


def test_published_examples_of_crypto() -> None:
    minute = {"ev": "XA", "pair": "BCD-USD", "v": 951.6112, "vw": 0.7756, "z": 73, "o": 0.772, "c": 0.784, "h": 0.784,
              "l": 0.771, "s": 1610463240000, "e": 1610463300000}  # fmt: skip
    trade = {"ev": "XT", "pair": "BTC-USD", "p": 33021.9, "t": 1610462007425, "s": 0.01616617, "c": [2], "i": 14272084,
             "x": 3, "r": 1610462007576}  # fmt: skip
    bar, deal = parse("crypto", minute, trade)
    assert isinstance(bar, LiveBar)
    assert (bar.instrument, bar.timeframe, bar.open, bar.close) == ("BCD-USD", "1m", 0.772, 0.784)
    assert isinstance(deal, LiveTrade)
    assert (deal.instrument, deal.quantity, deal.taker_buy) == ("BTC-USD", 0.01616617, True)


def test_a_bad_row_costs_itself() -> None:
    good = {"ev": "AM", "sym": "GTE", "v": 1, "o": 1.0, "c": 1.0, "h": 1.0, "l": 1.0, "s": 1610144640000, "e": 1}
    bad = [good | {"h": 0.5}, good | {"s": 1610144640001}, good | {"o": "x"}, good | {"o": None}]
    *refused, unknown, stranger, bar = parse("stocks", *bad, {"ev": "Q"}, good | {"sym": "ZZZ"}, good)
    for notice in refused:
        assert isinstance(notice, Notice)
        assert (notice.instrument, notice.timeframe, notice.over) == ("GTE", "1m", True)
        assert notice.refused is not None
    assert isinstance(unknown, Notice)
    assert isinstance(stranger, Notice)
    assert isinstance(bar, LiveBar)


def test_a_trade_that_makes_no_price_is_left_out() -> None:
    odd_lot = {"ev": "T", "sym": "MSFT", "i": "1", "p": 999.0, "s": 7, "c": [37], "t": 1536036818784}
    assert not any(isinstance(event, LiveTrade) for event in parse("stocks", odd_lot))


@asynccontextmanager
async def exchange(plan: Plan = Plan(), speed: float = 1.0) -> AsyncIterator[ReplayExchange]:  # noqa: B008  (frozen)
    tape = GeneratedStocks([Stock("AAPL", date(2024, 1, 2)), Stock("BRK.B", date(2024, 1, 2))])
    plans = {"key": plan}
    async with ReplayExchange(
        "generated", instruments=1, now=NOW, speed=speed, stocks=tape, massive_plans=plans
    ) as one:
        yield one


def stream_of(exchange: ReplayExchange, key: str = "key") -> MassiveStream:
    return MassiveStream(key, exchange.ws_url, timeout=5.0)


async def read_to_its_end(stream: MassiveStream, connection: WebSocketConnection | None = None) -> None:
    connection = connection or await stream.connect(PLAN)
    async with asyncio.timeout(10):
        async for _ in connection.events():
            pass


async def first_bars(stream: MassiveStream) -> list[LiveBar]:
    """The first minute of each instrument."""
    found: dict[str, LiveBar] = {}
    connection = await stream.connect(PLAN)
    async with asyncio.timeout(30):
        async for events in connection.events():
            found |= {one.instrument: one for one in events if isinstance(one, LiveBar) and one.timeframe == "1m"}
            if len(found) == len(PLAN.instruments):
                break
    await connection.close()
    await stream.close()
    return list(found.values())


async def test_minutes_of_the_stream_are_those_of_the_tape() -> None:
    async with exchange(speed=20.0) as server:
        for bar in await first_bars(stream_of(server)):
            ticker = bar.instrument.replace("-", ".")
            truth = {row["t"]: row for row in server.massive.tape.minutes(ticker, NOW.date(), NOW.date()).to_dicts()}
            row = truth[bar.open_ms]
            assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == tuple(row[name] for name in "ohlcv")
            assert bar.event_ms == bar.open_ms + 60_000


async def test_a_delayed_plan_streams_what_was_a_quarter_of_an_hour_ago() -> None:
    delay = timedelta(minutes=15)
    async with exchange(Plan(delay=delay), speed=20.0) as server:
        for bar in await first_bars(stream_of(server)):
            late = server.clock.now() - datetime.fromtimestamp(bar.event_ms / 1000, UTC)
            assert delay <= late < delay + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("key", "plan", "fix"),
    [
        ("wrong", Plan(), "does not accept the key .*: set CRYPTO_PIPELINE_MASSIVE_KEY to a key of"),
        ("key", Plan(expired=True), "does not accept the key"),
        ("key", Plan(streams=False), "a plan with this stream is needed .*CRYPTO_PIPELINE_MASSIVE_FEED"),
    ],
)  # fmt: skip
async def test_a_refusal_says_what_helps(key: str, plan: Plan, fix: str) -> None:
    async with exchange(plan) as server:
        stream = stream_of(server, key)
        with pytest.raises(LastingRefusal, match=fix):
            await read_to_its_end(stream)
        await stream.close()


async def test_the_second_connection_of_a_key_is_refused() -> None:
    async with exchange() as server:
        first, second = stream_of(server), stream_of(server)
        connection = await first.connect(PLAN)
        with pytest.raises(LastingRefusal, match="another program is connected with this key: stop it"):
            await second.connect(PLAN)
        await connection.close()
        await first.close()
        await second.close()


async def test_an_older_connection_that_is_dropped_for_a_newer_one_says_why() -> None:
    async with exchange() as server:
        server.massive.streams.evicts = True
        first, second = stream_of(server), stream_of(server)
        connection = await first.connect(PLAN)
        newer = await second.connect(PLAN)
        with pytest.raises(LastingRefusal, match="another program is connected with this key"):
            await read_to_its_end(first, connection)
        await newer.close()
        await first.close()
        await second.close()
        assert server.massive.streams.most["key", "stocks"] == 1


def test_the_address_follows_the_feed() -> None:
    def url(**more: str) -> str:
        stream = make_stream(Settings(massive_key="k", **more), "massive")  # type: ignore[arg-type]
        assert isinstance(stream, MassiveStream)
        return stream.url

    assert url() == "wss://delayed.massive.com"
    assert url(massive_feed="realtime") == "wss://socket.massive.com"
    assert url(massive_source="replay") == "ws://127.0.0.1:8765"
    assert url(massive_url="http://127.0.0.1:99") == "ws://127.0.0.1:99"
