"""The websocket client over real sockets: pings, cuts, silence, broken frames, refusals, shutdown."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from crypto_pipeline.venues import (
    Alive,
    Anchor,
    BinanceStream,
    CoinbaseStream,
    Event,
    KrakenStream,
    LiveTrade,
    Notice,
    StreamClosed,
    StreamConnection,
    StreamPlan,
    StreamRefused,
)
from crypto_pipeline_tests.builders.stream_server import Line, forever, serving

PLAN = StreamPlan([("BTC-USDT", "BTCUSDT"), ("ETH-USDT", "ETHUSDT")])


def agg(number: int, symbol: str = "BTCUSDT") -> str:
    return (
        f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":1700000000001,"s":"{symbol}","a":{number},'
        f'"p":"100.5","q":"2.0","f":{number * 2},"l":{number * 2 + 1},"T":1700000000000,"m":true,"M":true}}}}'
    )


async def until_closed(connection: StreamConnection, most: float = 5) -> tuple[list[Event], Exception]:
    """Everything that came, and how it ended."""
    events: list[Event] = []
    try:
        async with asyncio.timeout(most):
            async for several in connection.events():
                events.extend(several)
    except (StreamClosed, StreamRefused) as error:
        return events, error
    raise AssertionError("the events ended without an error")


async def streamed(play: Callable[[Line], Awaitable[None]], **options: Any) -> tuple[list[Event], Exception]:
    """What a client of BinanceStream gets of a server that does ``play``, until the connection ends."""
    async with serving(play) as server:
        venue = BinanceStream(server.url, **options)
        try:
            return await until_closed(await venue.connect(PLAN))
        finally:
            await venue.close()


async def test_ping_is_answered_with_its_payload_and_counts_as_life() -> None:
    answered: list[object] = []

    async def play(line: Line) -> None:
        await line.socket.ping(b"1718000000123")
        answered.append(await line.heard())
        await line.say(agg(7))

    async with serving(play) as server:
        venue = BinanceStream(server.url)
        connection = await venue.connect(PLAN)
        events, error = await until_closed(connection)
        await venue.close()
    assert answered == [(WSMsgType.PONG, b"1718000000123")]
    assert events == [
        Notice("subscribed", "in the address", "BTC-USDT"),
        Notice("subscribed", "in the address", "ETH-USDT"),
        Alive(),
        LiveTrade("BTC-USDT", 7, 14, 15, 1_700_000_000_000, 100.5, 2.0, False),
    ]
    assert isinstance(error, StreamClosed)
    assert server.lines[0].request.query["streams"].split("/") == [
        "btcusdt@aggTrade", "btcusdt@kline_1m", "ethusdt@aggTrade", "ethusdt@kline_1m",
    ]  # fmt: skip
    assert connection.counters == {"frames": 1, "trades": 1, "bars": 0, "unknown": 0, "malformed": 0, "fields": 0}


async def test_a_cut_line_ends_the_events() -> None:
    async def play(line: Line) -> None:
        await line.say(agg(1), agg(2))
        await asyncio.sleep(0.05)
        line.cut()

    events, error = await streamed(play)
    assert [event.trade_id for event in events if isinstance(event, LiveTrade)] == [1, 2]
    assert isinstance(error, StreamClosed)
    assert "the stream ended" in error.reason


async def test_a_close_frame_is_told_with_its_code_and_reason() -> None:
    async def play(line: Line) -> None:
        await line.socket.close(code=1008, message=b"Too many requests")

    _, error = await streamed(play)
    assert "1008: Too many requests" in str(error)


async def test_silence_ends_the_link_though_the_socket_stays_open() -> None:
    async def play(line: Line) -> None:
        await line.say(agg(1))
        await forever(line)

    begun = time.monotonic()
    events, error = await streamed(play, silence_limit=0.3)
    assert events[-1] == LiveTrade("BTC-USDT", 1, 2, 3, 1_700_000_000_000, 100.5, 2.0, False)
    assert "no message for 0.3 s" in str(error)
    assert 0.3 <= time.monotonic() - begun < 1.5


async def test_a_quiet_link_that_answers_pings_stays_and_is_told_alive() -> None:
    pings: list[object] = []

    async def play(line: Line) -> None:
        await line.say(agg(1))
        while len(pings) < 4:  # twice the limit
            kind, payload = await line.heard()
            pings.append(kind)
            await line.socket.pong(payload)
        await forever(line)

    begun = time.monotonic()
    events, error = await streamed(play, silence_limit=0.4)
    assert pings == [WSMsgType.PING] * 4
    assert [event for event in events if isinstance(event, Alive)] == [Alive()] * 4
    assert time.monotonic() - begun > 4 * 0.2 + 0.4
    assert "no answer to a ping" in str(error)


async def test_a_ping_amid_a_message_in_parts_leaves_it_whole() -> None:
    whole = agg(5).encode()

    async def play(line: Line) -> None:
        transport = line.request.transport
        assert isinstance(transport, asyncio.Transport)
        first, last = whole[:100], whole[100:]
        transport.write(bytes((0x01, len(first))) + first + b"\x89\x02hi" + bytes((0x80, len(last))) + last)
        assert await line.heard() == (WSMsgType.PONG, b"hi")

    events, _ = await streamed(play)
    assert [event.trade_id for event in events if isinstance(event, LiveTrade)] == [5]


async def test_a_venue_that_takes_leave_and_keeps_the_socket_open_is_left_all_the_same() -> None:
    async def play(line: Line) -> None:
        transport = line.request.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"\x88\x02\x03\xe9")
        await forever(line)

    _, error = await streamed(play)
    assert "the stream ended with code 1001" in str(error)


@pytest.mark.parametrize("location", ["http://169.254.169.254/stream", "http://[", "//example.com/stream"])
async def test_a_handshake_is_redirected_within_the_host_alone(location: str) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with serving(lambda line: line.say(agg(3))) as there:

        async def here(request: web.Request) -> web.StreamResponse:
            if request.path == "/stream":
                return web.Response(
                    status=307, headers={"Location": f"http{server.url[2:]}/moved?{request.query_string}"}
                )
            return await there.serve(request)

        async with serving(plain=here) as server:
            venue = BinanceStream(server.url)
            events, _ = await until_closed(await venue.connect(PLAN))
            await venue.close()
        assert [event.trade_id for event in events if isinstance(event, LiveTrade)] == [3]
    async with serving(plain=elsewhere) as server:
        venue = BinanceStream(server.url)
        with pytest.raises(StreamRefused, match="another host than requested"):
            await venue.connect(PLAN)
        await venue.close()


async def test_a_busy_reader_is_not_taken_for_silence() -> None:
    async def play(line: Line) -> None:
        await line.say(*(agg(number) for number in range(6)))
        await forever(line)

    async with serving(play) as server:
        venue = BinanceStream(server.url, silence_limit=0.2)
        connection = await venue.connect(PLAN)
        got = 0
        async with aclosing(connection.events()) as frames:  # type: ignore[type-var]
            async for events in frames:
                got += sum(isinstance(event, LiveTrade) for event in events)
                await asyncio.sleep(0.1)  # longer, all together, than the limit
                if got == 6:
                    break
        await venue.close()
    assert got == 6


async def test_broken_frames_are_counted_and_passed_over() -> None:
    broken = [
        "",
        "{",
        "[1,2]",
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}',
        agg(3).replace('"100.5"', '"nan"'),
        agg(3).replace('"100.5"', '"-1"'),
        agg(3).replace('"f":6', '"f":9'),
    ]

    async def play(line: Line) -> None:
        await line.say(agg(1), *broken, agg(2), '{"stream":"x@new","data":{"e":"newThing"}}', agg(9, "DOGEUSDT"))

    async with serving(play) as server:
        venue = BinanceStream(server.url)
        connection = await venue.connect(PLAN)
        events, _ = await until_closed(connection)
        await venue.close()
    assert [event.trade_id for event in events if isinstance(event, LiveTrade)] == [1, 2]
    notices = [event for event in events if isinstance(event, Notice) and event.kind == "unknown"]
    assert len(notices) == len(broken) + 2
    assert (connection.counters["malformed"], connection.counters["unknown"]) == (len(broken), 2)


async def test_a_frame_that_breaks_the_protocol_ends_the_stream() -> None:
    async def play(line: Line) -> None:
        await line.say(agg(1))
        transport = line.request.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"\x83\x01x")  # an opcode that does not exist
        await forever(line)

    _, error = await streamed(play)
    assert "broken frame" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "wait"), [(429, {"Retry-After": "7"}, 7.0), (418, {}, 120.0), (503, {}, None)]
)
async def test_refused_handshake(status: int, headers: dict[str, str], wait: float | None) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    async with serving(plain=refuse) as server:
        venue = BinanceStream(server.url)
        with pytest.raises(StreamRefused, match=f"HTTP {status}") as caught:
            await venue.connect(PLAN)
        await venue.close()
    assert caught.value.retry_after == wait


async def test_no_server() -> None:
    async with serving() as server:
        url = server.url
    venue = BinanceStream(url)
    with pytest.raises(StreamRefused, match="binance at"):
        await venue.connect(PLAN)
    await venue.close()


@pytest.mark.parametrize("said", ['{"code":1,"msg":"maximum number of connections exceeded"}', ""])
async def test_one_connection_too_many_is_a_refusal(said: str) -> None:
    async def play(line: Line) -> None:
        if said:
            await line.say(said)
        else:
            await line.socket.close(code=1008, message=b"maximum number of connections")

    events, error = await streamed(play)
    assert isinstance(error, StreamRefused)
    assert "maximum number of connections" in error.text
    assert not said or events[-1] == Notice("refused", "1 maximum number of connections exceeded")


@pytest.mark.parametrize(
    "frame",
    [
        '{"e":"serverShutdown","E":1770123456789}',
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        '{"stream":"!serverShutdown","data":{}}',
    ],
)
async def test_shutdown_is_announced(frame: str) -> None:
    async def play(line: Line) -> None:
        await line.say(frame)

    events, _ = await streamed(play)
    assert [event.kind for event in events[2:] if isinstance(event, Notice)] == ["shutdown"]


async def test_what_does_not_fit_the_address_is_subscribed_by_message_and_slowly() -> None:
    plan = StreamPlan([(f"COIN{n}-USDT", f"COIN{n}USDT") for n in range(400)])
    heard: list[tuple[float, dict[str, object]]] = []

    async def play(line: Line) -> None:
        while len(heard) < 4:
            message = await line.heard()
            heard.append((time.monotonic(), message))
            answer = {"result": None, "id": message["id"]}
            await line.say(json.dumps(answer if message["id"] != 2 else {"code": 2, "msg": "no", "id": 2}))

    async with serving(play) as server:
        venue = BinanceStream(server.url, symbols_per_connection=400)
        assert [len(part.instruments) for part in venue.spread(plan)] == [400]
        assert [len(part.instruments) for part in BinanceStream(server.url).spread(plan)] == [200, 200]
        events, _ = await until_closed(await venue.connect(plan))
        await venue.close()
    address = server.lines[0].request.query["streams"].split("/")
    asked = address + [name for _, message in heard for name in message["params"]]  # type: ignore[attr-defined]
    assert sorted(asked) == sorted(f"coin{n}usdt@{kind}" for n in range(400) for kind in ("aggTrade", "kline_1m"))
    assert all(later - earlier > 0.2 for (earlier, _), (later, _) in itertools.pairwise(heard))
    kinds = {event.instrument: event.kind for event in events if isinstance(event, Notice)}
    refused = {name for name, kind in kinds.items() if kind == "refused"}
    assert len(kinds) == 400
    assert len(refused) == 100


async def test_binance_never_asks_for_more_streams_than_a_connection_may_have() -> None:
    plan = StreamPlan([(f"COIN{n}-USDT", f"COIN{n}USDT") for n in range(1500)])
    parts = BinanceStream("ws://nowhere", symbols_per_connection=10_000).spread(plan)
    assert [len(part.instruments) for part in parts] == [500, 500, 500]
    assert sorted(pair for part in parts for pair in part.instruments) == sorted(plan.instruments)
    assert BinanceStream("ws://nowhere").spread(StreamPlan([])) == []


async def test_closing_ends_the_events_without_an_error() -> None:
    async with serving() as server:
        venue = BinanceStream(server.url)
        connection = await venue.connect(PLAN)
        first = asyncio.Event()

        async def read() -> int:
            frames = 0
            async for _ in connection.events():
                frames += 1
                first.set()
            return frames

        reading = asyncio.create_task(read())
        await first.wait()
        await asyncio.sleep(0.01)
        await connection.close()
        await connection.close()
        assert await asyncio.wait_for(reading, 3) == 1
        await venue.close()


async def test_coinbase_subscribes_and_tells_anchors() -> None:
    heard: list[object] = []
    match = (
        '{"type":"%s","trade_id":%d,"maker_order_id":"m","taker_order_id":"t","side":"%s","size":"0.5","price":"10.25",'
        '"product_id":"BTC-USD","sequence":5,"time":"2026-01-05T00:00:01.5%sZ"}'
    )

    async def play(line: Line) -> None:
        heard.append(await line.heard())
        channels = [{"name": name, "product_ids": ["BTC-USD"]} for name in ("matches", "heartbeat")]
        await line.say(
            json.dumps({"type": "subscriptions", "channels": channels}),
            match % ("last_match", 41, "buy", "00000"),
            match % ("match", 42, "sell", ""),
            match % ("match", 43, "buy", "99999"),
            '{"type":"heartbeat","sequence":90,"last_trade_id":0,"product_id":"BTC-USD","time":"2026-01-05T00:00:02Z"}',
            '{"type":"heartbeat","sequence":90,"last_trade_id":43,"product_id":"BTC-USD","time":"2026-01-05T00:00:03.000001Z"}',
            '{"type":"error","message":"Failed to subscribe","reason":"ETH-USD is not a valid product"}',
            '{"type":"error","message":"rate limit exceeded"}',
        )

    async with serving(play) as server:
        venue = CoinbaseStream(server.url)
        plan = StreamPlan([("BTC-USD", "BTC-USD"), ("ETH-USD", "ETH-USD")])
        events, error = await until_closed(await venue.connect(plan))
        await venue.close()
    assert heard == [{"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["matches", "heartbeat"]}]
    at = 1_767_571_201_500
    assert events == [
        Notice("subscribed", "matches", "BTC-USD"),
        Anchor("BTC-USD", 41, at),
        LiveTrade("BTC-USD", 42, 42, 42, at, 10.25, 0.5, True),
        LiveTrade("BTC-USD", 43, 43, 43, at + 99, 10.25, 0.5, False),
        Anchor("BTC-USD", None, at + 500),
        Anchor("BTC-USD", 43, at + 1500),
        Notice("refused", "Failed to subscribe: ETH-USD is not a valid product", "ETH-USD"),
        Notice("refused", "rate limit exceeded"),
    ]
    assert isinstance(error, StreamClosed)


async def test_kraken_subscribes_and_puts_the_snapshot_in_order() -> None:
    heard: list[object] = []

    def trade(number: int, symbol: str = "BTC/USD") -> dict[str, object]:
        return {
            "symbol": symbol, "side": "buy", "price": 0.1, "qty": 1e-8, "ord_type": "limit", "trade_id": number,
            "timestamp": "2026-01-05T00:00:01.500123Z",
        }  # fmt: skip

    def bar(minute: int, close: float) -> str:
        row = {
            "symbol": "BTC/USD", "open": 1.5, "high": 9.5, "low": 1.0, "close": close, "trades": 3, "volume": 2.5,
            "vwap": 2.0, "interval_begin": f"2026-01-05T00:0{minute}:00.000000000Z", "interval": 1,
            "timestamp": f"2026-01-05T00:0{minute + 1}:00.000000Z",
        }  # fmt: skip
        stamp = "2026-01-05T00:00:05.000000Z"
        return json.dumps({"channel": "ohlc", "type": "update", "timestamp": stamp, "data": [row]})

    async def play(line: Line) -> None:
        heard.extend([await line.heard(), await line.heard()])
        for symbol in ("BTC/USD", "DOGE/USD"):
            result = {"channel": "trade", "symbol": symbol, "snapshot": True}
            await line.say(json.dumps({"method": "subscribe", "result": result, "success": True, "req_id": 1}))
        await line.say(
            '{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}',
            '{"error":"Currency pair not supported FOO/USD","method":"subscribe","success":false,"symbol":"FOO/USD"}',
            json.dumps({"channel": "trade", "type": "snapshot", "data": [trade(8), trade(7), trade(9)]}),
            json.dumps({"channel": "trade", "type": "update", "data": [trade(1, "DOGE/USD")]}),
            '{"channel":"heartbeat"}',
            bar(0, 2.0), bar(0, 3.0), bar(1, 4.0), bar(0, 3.5),
            '{"channel":"surprise","data":[]}',
        )  # fmt: skip

    async with serving(play) as server:
        venue = KrakenStream(server.url)
        plan = StreamPlan([("BTC-USD", "XBT/USD"), ("DOGE-USD", "DOGE/USD"), ("FOO-USD", "FOO/USD")])
        connection = await venue.connect(plan)
        events, _ = await until_closed(connection)
        await venue.close()
    symbols = ["BTC/USD", "DOGE/USD", "FOO/USD"]
    assert heard == [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": symbols, "snapshot": True}, "req_id": 1},
        {"method": "subscribe", "params": {"channel": "ohlc", "interval": 1, "symbol": symbols, "snapshot": True},
         "req_id": 2},
    ]  # fmt: skip
    at = 1_767_571_201_500
    trades = [event for event in events if isinstance(event, LiveTrade)]
    assert trades == [
        *(LiveTrade("BTC-USD", n, n, n, at, 0.1, 1e-8, True) for n in (7, 8, 9)),
        LiveTrade("DOGE-USD", 1, 1, 1, at, 0.1, 1e-8, True),
    ]
    told = [
        (event.open_ms % 3_600_000 // 60_000, event.close, event.closed) for event in events if hasattr(event, "closed")
    ]
    assert told == [(0, 2.0, False), (0, 3.0, False), (0, 3.0, True), (1, 4.0, False), (0, 3.5, True)]
    notices = [(event.kind, event.instrument) for event in events if isinstance(event, Notice)]
    assert notices == [
        ("subscribed", "BTC-USD"), ("subscribed", "DOGE-USD"), ("status", None), ("refused", "FOO-USD"),
        ("unknown", None),
    ]  # fmt: skip
    assert connection.counters["trades"] == 4
