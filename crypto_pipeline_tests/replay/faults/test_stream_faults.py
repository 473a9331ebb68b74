"""Each fault of the streams over real sockets: it strikes, it is counted, and it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from crypto_pipeline.replay import ReplayError, ReplayExchange, load_faults, parse_faults
from crypto_pipeline_tests.builders.places import PROJECT
from crypto_pipeline_tests.builders.stream_client import ENDED, exchange_at, listen, put_forward, subscribed, tape
from crypto_pipeline_tests.replay.conftest import NOW

PATH = "/ws/btcusdt@aggTrade"


async def ids_under(fault: dict[str, Any], over: Callable[[list[int], list[int]], bool]) -> tuple[list[int], list[int]]:
    """Ids of the stream under a fault, until ``over(got, true ids)`` holds, and those of the tape."""
    async with exchange_at() as exchange, listen(exchange, PATH) as listener:
        await subscribed(listener)
        fault_id = exchange.control(fault)[0]
        put_forward(exchange, 120)
        true = [trade[0] for trade in tape(exchange, "BTCUSDT", NOW, NOW + timedelta(seconds=120))]
        got: list[int] = []
        while not over(got, true):
            got.append((await listener.next())["a"])
        assert struck(exchange, fault_id) > 0
        # It ends when it is lifted, and the stream is the tape again.
        exchange.clear_faults()
        put_forward(exchange, 120)
        after = tape(exchange, "BTCUSDT", NOW + timedelta(seconds=120), NOW + timedelta(seconds=240))
        assert [(await listener.next())["a"] for _ in after] == [trade[0] for trade in after]
        return got, true


def struck(exchange: ReplayExchange, fault_id: int) -> int:
    return next(fault["struck"] for fault in exchange.server.faults.show() if fault["id"] == fault_id)


async def test_duplicates() -> None:
    fault = {"kind": "ws_duplicate", "copies": 2, "count": 3}
    got, true = await ids_under(fault, lambda got, true: len(got) == len(true) + 6)
    assert got == sorted([*true, *true[:3] * 2])


async def test_reordered() -> None:
    fault = {"kind": "ws_reorder", "by": 2, "count": 1}
    got, true = await ids_under(fault, lambda got, true: len(got) == len(true))
    assert got == [true[1], true[2], true[0], *true[3:]]


async def test_delayed() -> None:
    fault = {"kind": "ws_delay", "seconds": 0.1, "count": 2, "symbol": "BTC-USDT"}
    got, true = await ids_under(fault, lambda got, true: len(got) == len(true))
    assert got == [*true[2:], *true[:2]]


async def test_dropped_trades_are_in_rest() -> None:
    fault = {"kind": "ws_drop", "probability": 0.3, "count": 3}
    got, true = await ids_under(fault, lambda got, true: len(got) == len(true) - 3)
    lost = sorted(set(true) - set(got))
    assert len(lost) == 3
    async with exchange_at(NOW + timedelta(seconds=120)) as exchange, aiohttp.ClientSession(exchange.url) as session:
        query = {"symbol": "BTCUSDT", "fromId": lost[0], "limit": 1}
        async with session.get("/api/v3/aggTrades", params=query) as answer:
            assert (await answer.json())[0]["a"] == lost[0]


@pytest.mark.parametrize(
    ("manner", "wrong"), [("shift", lambda one: one + 1000), ("repeat", lambda one: one - 1), ("zero", lambda _: 0)]
)
async def test_wrong_ids(manner: str, wrong: Callable[[int], int]) -> None:
    fault = {"kind": "ws_bad_ids", "manner": manner, "count": 2}
    got, true = await ids_under(fault, lambda got, true: len(got) == len(true))
    assert got == [wrong(true[0]), wrong(true[1]), *true[2:]]


async def test_malformed_frames() -> None:
    async with exchange_at() as exchange, listen(exchange, PATH) as listener:
        await subscribed(listener)
        exchange.control(
            {"kind": "ws_malformed", "count": 1},
            {"kind": "ws_malformed", "manner": "body", "body": "oops", "count": 1, "from": after(31)},
            {"kind": "ws_malformed", "manner": "binary", "count": 1, "from": after(61)},
        )
        seen = []
        for _ in range(3):
            put_forward(exchange, 30)
            message = await listener.socket.receive(5)
            seen.append(message)
            await subscribed(listener)
        with pytest.raises(ValueError):
            json.loads(seen[0].data)
        assert seen[0].data.startswith('{"e":"aggTrade"')
        assert seen[1].data == "oops"
        assert seen[2].type is aiohttp.WSMsgType.BINARY


def after(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


async def test_a_skewed_clock_leaves_bars_where_they_are() -> None:
    async with (
        exchange_at() as exchange,
        listen(exchange, "/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m") as listener,
    ):
        await subscribed(listener)
        exchange.control({"kind": "ws_clock_skew", "milliseconds": -5000})
        put_forward(exchange, 29)
        first = await listener.until(lambda one: one["stream"].endswith("kline_1m"))
        true = tape(exchange, "BTCUSDT", NOW, NOW + timedelta(seconds=29))[0]
        trade, bar = first[0]["data"], first[-1]["data"]
        assert trade["T"] == true[3].timestamp() * 1000 - 5000
        assert trade["E"] == trade["T"] + 1
        assert bar["k"]["T"] - bar["k"]["t"] == 59_999
        assert bar["k"]["t"] % 60_000 == 0
        assert exchange.clock.now_ms() - bar["E"] >= 5000


@pytest.mark.parametrize(("manner", "code"), [("abort", 1006), ("close", 1001), ("half", 1006)])
async def test_cuts(manner: str, code: int) -> None:
    async with (
        exchange_at() as exchange,
        listen(exchange, PATH) as listener,
        listen(exchange, "/ws/ethusdt@trade") as other,
    ):
        await subscribed(listener)
        await subscribed(other)
        exchange.control({"kind": "ws_cut", "manner": manner, "symbol": "BTCUSDT", "count": 1})
        await listener.end()
        assert listener.socket.close_code == code
        await subscribed(other)
        async with listen(exchange, PATH) as again:
            await subscribed(again)
            put_forward(exchange, 60)
            assert (await again.next())["e"] == "aggTrade"


async def test_a_frozen_connection_stays_open_and_loses_what_happened() -> None:
    async with exchange_at() as exchange, listen(exchange, PATH) as listener:
        await subscribed(listener)
        exchange.control({"kind": "ws_freeze", "seconds": 0.4, "count": 1})
        await asyncio.sleep(0.1)
        put_forward(exchange, 60)
        await listener.socket.ping()
        assert await listener.silent(0.2)
        assert not listener.socket.closed
        await asyncio.sleep(0.3)
        put_forward(exchange, 60)
        true = tape(exchange, "BTCUSDT", NOW + timedelta(seconds=60), NOW + timedelta(seconds=120))
        assert (await listener.next())["a"] == true[0][0]


async def test_one_symbol_freezes_while_its_siblings_go_on() -> None:
    async with (
        exchange_at() as exchange,
        listen(exchange, "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade") as listener,
    ):
        await subscribed(listener)
        exchange.control({"kind": "ws_freeze", "symbol": "BTC-USDT", "count": 1})
        await asyncio.sleep(0.1)
        put_forward(exchange, 60)
        count = len(tape(exchange, "ETHUSDT", NOW, NOW + timedelta(seconds=60)))
        assert {(await listener.next())["stream"] for _ in range(count)} == {"ethusdt@aggTrade"}
        assert await listener.silent(0.1)


async def test_a_second_connection_is_refused_or_evicts_the_first() -> None:
    async with exchange_at() as exchange, listen(exchange, PATH) as first:
        await subscribed(first)
        exchange.control({"kind": "ws_refuse", "count": 1}, {"kind": "ws_refuse", "manner": "http", "count": 1})
        async with listen(exchange, PATH) as second:
            assert "Maximum number of connections" in (await second.next())["msg"]
            ended = await second.end()
            assert (second.socket.close_code, ended.extra) == (1008, "maximum number of connections")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with listen(exchange, PATH):
                pass
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "5"
        await subscribed(first)
        exchange.control({"kind": "ws_refuse", "manner": "evict"})
        async with listen(exchange, PATH) as third:
            await subscribed(third)
            assert "Maximum number of connections" in (await first.next())["msg"]
            await first.end()
            await subscribed(third)


async def test_maintenance_is_announced() -> None:
    async with exchange_at() as exchange, listen(exchange, "/stream?streams=btcusdt@trade") as listener:
        await subscribed(listener)
        exchange.control({"kind": "ws_maintenance", "closes_after": 0.3, "down_seconds": 0.3, "count": 1})
        said = await listener.next()
        assert said == {
            "stream": "!serverShutdown",
            "data": {"e": "serverShutdown", "E": exchange.clock.now_ms()},
        }
        # A replacement may be opened before the old connection goes, and is not told to go itself.
        async with listen(exchange, PATH) as replacement:
            await subscribed(replacement)
            await listener.end()
            assert listener.socket.close_code == 1001
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                async with listen(exchange, PATH):
                    pass
            await subscribed(replacement)
        await asyncio.sleep(0.3)
        async with listen(exchange, PATH) as back:
            await subscribed(back)


async def test_a_slow_consumer_is_cut() -> None:
    async with exchange_at(intensity=3000) as exchange:
        names = "/".join(f"{symbol}@aggTrade" for symbol in ("btcusdt", "ethusdt", "solusdt"))
        async with listen(exchange, f"/stream?streams={names}") as slow, listen(exchange, PATH) as good:
            await subscribed(slow)
            await subscribed(good)
            fault = exchange.control({"kind": "ws_slow_consumer", "bytes": 100_000, "symbol": "ETHUSDT"})[0]
            await asyncio.sleep(0.1)
            while not struck(exchange, fault):
                put_forward(exchange, 20)
                while not await good.silent(0.05):
                    pass
            while (await slow.socket.receive(10)).type not in ENDED:
                pass
            assert slow.socket.close_code == 1006
            await subscribed(good)


async def test_an_outage_keeps_streams_from_opening() -> None:
    async with exchange_at() as exchange:
        exchange.control({"kind": "outage", "endpoint": "stream", "count": 1})
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with listen(exchange, PATH):
                pass
        async with listen(exchange, PATH) as listener:
            await subscribed(listener)


def test_the_example_script_shows_every_kind() -> None:
    example = PROJECT / "docs" / "faults-live-example.json"
    assert len({fault.kind for fault in load_faults(example)}) == 12


def test_bad_faults_are_explained() -> None:
    with pytest.raises(ReplayError, match=r"ws_cut\.manner: .*got 'softly'"):
        parse_faults({"kind": "ws_cut", "manner": "softly"})
    with pytest.raises(ReplayError, match=r"ws_drop\.stream\.0: .*got 'depth'"):
        parse_faults({"kind": "ws_drop", "stream": "depth"})
