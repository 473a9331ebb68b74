"""Streams over real sockets: the same tape as REST, Binance's control messages, and its limits."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import ReplayError, ReplayExchange, StreamRules
from crypto_pipeline_tests.builders.stream_client import exchange_at, listen, put_forward, subscribed, tape
from crypto_pipeline_tests.replay.conftest import NOW


def as_tape(trade: dict[str, Any]) -> tuple[Any, ...]:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=trade["T"])
    return (trade["a"], trade["f"], trade["l"], moment, float(trade["p"]), float(trade["q"]), trade["m"])


async def rest(exchange: ReplayExchange, path: str, **query: Any) -> Any:
    async with aiohttp.ClientSession(exchange.url) as session, session.get(path, params=query) as answer:
        return await answer.json()


async def test_the_stream_is_the_tape_trade_by_trade_and_its_closing_bar_is_that_of_rest() -> None:
    """Two minutes at speed 60, several symbols on one connection."""
    symbols = ("btcusdt", "ethusdt", "solusdt")
    names = [f"{symbol}@{kind}" for symbol in symbols for kind in ("aggTrade", "kline_1m")]
    first = unix_ms(NOW) // 60_000 * 60_000
    async with exchange_at() as exchange, listen(exchange, "/stream?streams=" + "/".join(names)) as listener:
        await subscribed(listener)
        exchange.clock.set(speed=60)
        closed: set[str] = set()

        def over(message: dict[str, Any]) -> bool:
            bar = message["data"].get("k", {"x": False})
            if bar["x"] and bar["t"] == first + 60_000:
                closed.add(message["stream"])
            return len(closed) == len(symbols)

        messages = await listener.until(over)
        exchange.clock.set(speed=0)
        for symbol in symbols:
            name = symbol.upper()
            trades = [one["data"] for one in messages if one["stream"] == f"{symbol}@aggTrade"]
            assert all(trade["E"] - trade["T"] == 1 and trade["e"] == "aggTrade" for trade in trades)
            assert all(later["a"] == earlier["a"] + 1 for earlier, later in pairwise(trades))
            start = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=trades[0]["T"] - 1)
            end = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=first + 120_000 - 1)
            inside = [as_tape(trade) for trade in trades if trade["T"] < first + 120_000]
            assert len(inside) > 5
            assert inside == tape(exchange, name, start, end)
            answer = await rest(exchange, "/api/v3/aggTrades", symbol=name, fromId=trades[0]["a"], limit=len(trades))
            assert answer == [{key: trade[key] for key in "apqflTmM"} for trade in trades]
            bars = [one["data"] for one in messages if one["stream"] == f"{symbol}@kline_1m"]
            closing = {bar["k"]["t"]: bar for bar in bars if bar["k"]["x"]}
            rows = await rest(exchange, "/api/v3/klines", symbol=name, interval="1m", startTime=first, limit=2)
            for row in rows:
                bar = closing[row[0]]["k"]
                assert [bar[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")] == row[:11]
                assert bar["L"] - bar["f"] + 1 == bar["n"]
                assert 4 <= closing[row[0]]["E"] - row[6] - 1 <= 2000
            # Counted trade by trade, the last update before the close agrees with it as far as it goes.
            assert all(bar["k"]["t"] <= bar["E"] <= bar["k"]["T"] for bar in bars if not bar["k"]["x"])
            assert any(not bar["k"]["x"] for bar in bars)


async def test_updates_state_the_bar_as_rest_does_at_that_moment() -> None:
    async with exchange_at() as exchange, listen(exchange, "/ws/btcusdt@kline_1m") as listener:
        await subscribed(listener)
        for _ in range(4):
            put_forward(exchange, 2)
            update = await listener.next()
            exchange.clock.set(datetime.fromtimestamp(update["E"] / 1000, UTC))
            row = (await rest(exchange, "/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1))[0]
            bar = update["k"]
            assert [bar[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")] == row[:11]
            assert bar["x"] is False


async def test_a_silent_symbol_states_flat_minutes() -> None:
    async with exchange_at(instruments="BTC-USDT,HIPPO-USDT") as exchange:
        bars = exchange.tape.bars("HIPPO-USDT", Timeframe.M1, NOW - timedelta(hours=2), NOW)
        silent = bars.filter(bars["trade_count"] == 0)["open_time"][0]
        exchange.clock.set(silent.astimezone(UTC) - timedelta(milliseconds=1))
        async with listen(exchange, "/ws/hippousdt@kline_1m") as listener:
            await subscribed(listener)
            put_forward(exchange, 30)
            put_forward(exchange, 35)
            messages = await listener.until(lambda one: one["k"]["x"] and one["k"]["t"] == unix_ms(silent))
    bar = messages[-1]["k"]
    assert (bar["n"], bar["f"], bar["L"], bar["v"]) == (0, -1, -1, "0.00000000")
    assert len({bar[key] for key in "ohlc"}) == 1


async def test_single_trades_sum_up_to_the_aggregates() -> None:
    async with exchange_at() as exchange, listen(exchange, "/stream?streams=btcusdt@trade") as listener:
        await subscribed(listener)
        put_forward(exchange, 120)
        expected = tape(exchange, "BTCUSDT", NOW, NOW + timedelta(seconds=120))
        last = expected[-1][2]
        trades = [one["data"] for one in await listener.until(lambda one: one["data"]["t"] == last)]
    assert [trade["t"] for trade in trades] == list(range(expected[0][1], last + 1))
    for _, first_id, last_id, _, price, quantity, _ in expected:
        parts = [trade for trade in trades if first_id <= trade["t"] <= last_id]
        assert {float(part["p"]) for part in parts} == {price}
        assert sum(float(part["q"]) for part in parts) == pytest.approx(quantity)


async def test_nothing_is_replayed_after_a_reconnect() -> None:
    async with exchange_at() as exchange:
        async with listen(exchange, "/ws/btcusdt@aggTrade") as listener:
            await subscribed(listener)
            put_forward(exchange, 60)
            before = await listener.next()
        put_forward(exchange, 60)
        async with listen(exchange, "/ws/btcusdt@aggTrade") as listener:
            await subscribed(listener)
            put_forward(exchange, 60)
            after = await listener.next()
        expected = tape(exchange, "BTCUSDT", NOW + timedelta(seconds=120), NOW + timedelta(seconds=180))
        assert as_tape(after) == expected[0]
        missed = range(before["a"] + 1, after["a"])
        answer = await rest(exchange, "/api/v3/aggTrades", symbol="BTCUSDT", fromId=missed[0], limit=len(missed))
        assert [trade["a"] for trade in answer] == list(missed)


async def test_control_messages() -> None:
    rules = StreamRules(messages_per_second=100)
    async with exchange_at(stream_rules=rules) as exchange, listen(exchange, "/ws") as listener:
        ask = listener.ask
        assert await ask(method="LIST_SUBSCRIPTIONS", id=3) == {"result": [], "id": 3}
        names = ["btcusdt@aggTrade", "btcusdt@kline_1m"]
        assert await ask(method="SUBSCRIBE", params=names, id=1) == {"result": None, "id": 1}
        # What does not exist is accepted and silent: upper case too.
        assert await ask(method="SUBSCRIBE", params=["nope@trade", "ETHUSDT@trade"], id=2) == {
            "result": None,
            "id": 2,
        }
        assert (await ask(method="LIST_SUBSCRIPTIONS", id=3))["result"] == [*names, "nope@trade", "ETHUSDT@trade"]
        put_forward(exchange, 60)
        assert (await listener.next())["s"] == "BTCUSDT"
        assert await ask(method="UNSUBSCRIBE", params=names, id="x") == {"result": None, "id": "x"}
        put_forward(exchange, 60)
        assert await listener.silent(0.15)
        assert await ask(method="GET_PROPERTY", params=["combined"], id=5) == {"result": False, "id": 5}
        assert await ask(method="SET_PROPERTY", params=["combined", True], id=6) == {"result": None, "id": 6}
        await ask(method="SUBSCRIBE", params=names[:1], id=7)
        put_forward(exchange, 60)
        assert (await listener.next())["stream"] == names[0]
        assert await ask(method="SET_PROPERTY", params=["colour", 1], id=8) == {
            "code": 0,
            "msg": "Unknown property",
            "id": 8,
        }
        bad = "Invalid value type: expected Boolean"
        assert await ask(method="SET_PROPERTY", params=["combined", 1], id=9) == {"code": 1, "msg": bad, "id": 9}
        unsigned = "Invalid request: request ID must be an unsigned integer"
        assert await ask(method="SUBSCRIBE", params=names, id=-1) == {"code": 2, "msg": unsigned}
        assert "unknown variant `BUY`" in (await ask(method="BUY", id=1))["msg"]
        assert "missing field `method`" in (await ask(id=1))["msg"]
        await listener.socket.send_str("{nonsense")
        assert (await listener.answer())["code"] == 3


async def test_too_many_streams_are_refused() -> None:
    async with exchange_at() as exchange:
        # An address as long as this is taken.
        names = "/".join(f"abcdefghijklmn{number}@aggTrade" for number in range(1024))
        async with listen(exchange, f"/stream?streams={names}") as listener:
            refused = await listener.ask(method="SUBSCRIBE", params=["btcusdt@trade"], id=1)
            assert refused["code"] == 2
        with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
            async with listen(exchange, f"/stream?streams={names}/btcusdt@trade"):
                pass


async def test_who_talks_too_much_is_dropped() -> None:
    async with exchange_at() as exchange, listen(exchange, "/ws/btcusdt@trade") as listener:
        for number in range(6):
            await listener.socket.send_str(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        ended = await listener.end()
        assert listener.socket.close_code == 1008, ended


async def test_pings_are_sent_and_must_be_answered() -> None:
    rules = StreamRules(ping_seconds=0.1, pong_seconds=0.35, messages_per_second=100)
    async with (
        exchange_at(stream_rules=rules) as exchange,
        listen(exchange, "/ws/btcusdt@trade", autoping=False) as mute,
        listen(exchange, "/ws/btcusdt@trade") as good,
    ):
        reading = asyncio.create_task(good.silent(0.8))
        ping = await mute.socket.receive(5)
        assert ping.type is aiohttp.WSMsgType.PING
        await mute.socket.pong(b"not what was asked for")
        while (message := await mute.socket.receive(5)).type is aiohttp.WSMsgType.PING:
            pass
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert await reading
        await subscribed(good)
        await good.socket.ping(b"hello")


async def test_a_connection_has_a_lifetime_and_connects_are_counted() -> None:
    rules = StreamRules(lifetime_seconds=0.2, connects=2, connects_seconds=60)
    async with exchange_at(stream_rules=rules, weight_limit=6000) as exchange:
        for _ in range(2):
            async with listen(exchange, "/ws/btcusdt@trade") as listener:
                await listener.end()
                assert listener.socket.close_code == 1001
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with listen(exchange, "/ws/btcusdt@trade"):
                pass
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert 50 <= int(refused.value.headers["Retry-After"]) <= 60


async def test_midnight_and_a_clock_put_back() -> None:
    eve = NOW.replace(hour=23, minute=59, second=30)
    async with (
        exchange_at(now=eve) as exchange,
        listen(exchange, "/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m") as listener,
    ):
        await subscribed(listener)
        put_forward(exchange, 60)
        put_forward(exchange, 35)
        last = unix_ms(eve) // 60_000 * 60_000 + 60_000
        messages = await listener.until(lambda one: one["data"].get("k", {}).get("x") and one["data"]["k"]["t"] == last)
        trades = [as_tape(one["data"]) for one in messages if one["stream"].endswith("aggTrade")]
        assert trades == tape(exchange, "BTCUSDT", eve, eve + timedelta(seconds=95))
        exchange.clock.set(eve - timedelta(hours=3))
        await asyncio.sleep(0.1)  # the scheduler's longest pause: nothing tells of a clock that was put back
        put_forward(exchange, 60)
        again = await listener.until(lambda one: one["stream"].endswith("aggTrade"))
        start = eve - timedelta(hours=3)
        assert as_tape(again[-1]["data"]) == tape(exchange, "BTCUSDT", start, start + timedelta(seconds=60))[0]


async def test_a_market_many_times_as_busy_keeps_its_word() -> None:
    async with exchange_at(intensity=200, instruments=1) as exchange:
        async with listen(exchange, "/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m") as listener:
            await subscribed(listener)
            put_forward(exchange, 95)
            opened = unix_ms(NOW) // 60_000 * 60_000 + 60_000
            messages = await listener.until(
                lambda one: one["data"].get("k", {}).get("x") and one["data"]["k"]["t"] == opened
            )
        trades = [one["data"] for one in messages if one["stream"].endswith("aggTrade")]
        assert len(trades) > 1000
        assert [as_tape(trade) for trade in trades] == tape(exchange, "BTCUSDT", NOW, NOW + timedelta(seconds=95))
        query = {"symbol": "BTCUSDT", "fromId": trades[700]["a"], "limit": 1000}
        answer = await rest(exchange, "/api/v3/aggTrades", **query)
        assert answer == [{key: trade[key] for key in "apqflTmM"} for trade in trades[700:1700]]
        bar, inside = messages[-1]["data"]["k"], [one for one in trades if opened <= one["T"] < opened + 60_000]
        assert (bar["f"], bar["L"]) == (inside[0]["f"], inside[-1]["l"])
        assert bar["n"] == sum(one["l"] - one["f"] + 1 for one in inside)
        assert float(bar["v"]) == pytest.approx(sum(float(one["q"]) for one in inside))
        for seconds in (0, 7, 19):
            exchange.clock.set(NOW + timedelta(seconds=seconds, milliseconds=321))
            row = (await rest(exchange, "/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1))[0]
            minute = datetime.fromtimestamp(row[0] / 1000, UTC) - timedelta(milliseconds=1)
            so_far = tape(exchange, "BTCUSDT", minute, exchange.clock.now())
            assert row[8] == sum(last - first + 1 for _, first, last, *_ in so_far)
            assert float(row[5]) == pytest.approx(sum(trade[5] for trade in so_far))


def test_a_wrong_intensity_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ReplayError, match="intensity 0"):
        ReplayExchange(intensity=0)
    with pytest.raises(ReplayError, match="only a generated market"):
        ReplayExchange(tmp_path, intensity=5)
