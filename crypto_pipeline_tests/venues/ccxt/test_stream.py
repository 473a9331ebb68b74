"""The streams of an exchange of ccxt: candles that are over and trades, from a scripted socket to the table.

Guards I1 and I8 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import polars as pl
import pytest
from aiohttp import WSMsgType, web

from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.instruments import ListingRow
from crypto_pipeline.venue_names import has_stream
from crypto_pipeline.venues import make_stream
from crypto_pipeline.venues.ccxt.stream import CcxtConnection, CcxtStream
from crypto_pipeline.venues.stream_protocol import Event, LiveBar, Notice, StreamClosed, StreamPlan
from crypto_pipeline_tests.venues.contract.ccxt_wires import OkxWire, numbers
from crypto_pipeline_tests.venues.contract.market import MINUTE, Market, Row
from crypto_pipeline_tests.venues.contract.server import ScriptedServer

M1 = Timeframe.M1
BTC, ETH = ("BTC-USDT@ccxt_okx", "BTC/USDT"), ("ETH-USDT@ccxt_okx", "ETH/USDT")


class StreamingServer(ScriptedServer):
    """OKX with its sockets: what is subscribed to is sent by ``send``."""

    def __init__(self, wire: OkxWire) -> None:
        super().__init__(wire)
        self.sockets: dict[tuple[str, str], web.WebSocketResponse] = {}
        self.subscribed = asyncio.Event()
        self.refused: set[str] = set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request) if request.path.startswith("/ws/") else await super()._handle(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT or message.data == "ping":
                await socket.send_str("pong")
                continue
            for topic in json.loads(message.data)["args"]:
                key = topic["channel"], topic["instId"]
                if topic["instId"] in self.refused:
                    said = {"event": "error", "code": "60018", "msg": f"{key} doesn't exist", "connId": "a"}
                    await socket.send_json(said)
                    continue
                self.sockets[key] = socket
                await socket.send_json({"event": "subscribe", "arg": topic, "connId": "a"})
                self.subscribed.set()
        return socket

    async def send(self, channel: str, name: str, *data: Any) -> None:
        while (channel, name) not in self.sockets:
            self.subscribed.clear()
            await asyncio.wait_for(self.subscribed.wait(), 10)
        message = {"arg": {"channel": channel, "instId": name}, "data": list(data)}
        await self.sockets[channel, name].send_json(message)

    async def cut(self) -> None:
        for socket in {id(each): each for each in self.sockets.values()}.values():
            await socket.close()


@asynccontextmanager
async def streaming(*instruments: tuple[str, str]) -> AsyncIterator[tuple[StreamingServer, CcxtConnection]]:
    async with StreamingServer(OkxWire(Market())) as server:
        stream = make_stream(server.wire.settings(server.url).model_copy(update={"venue": "ccxt_okx"}))
        assert isinstance(stream, CcxtStream)
        connection = await stream.connect(StreamPlan(list(instruments)))
        try:
            yield server, connection
        finally:
            await connection.close()
            await stream.close()


def candle(row: Row) -> list[str]:
    return [str(row.time), *numbers(row, "open", "high", "low", "close", "volume", "quote_volume", "quote_volume"), "0"]


def trade(name: str, number: int, time: int, price: float = 100.0) -> dict[str, str]:
    return {"instId": name, "tradeId": str(number), "px": f"{price}", "sz": "0.5", "side": "sell", "ts": str(time)}


async def take(connection: CcxtConnection, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Events until there are enough."""
    events: list[Event] = []
    async with asyncio.timeout(20), aclosing(connection.events()) as frames:
        async for frame in frames:
            events += frame
            if enough(events):
                return events
    return events


async def _exhaust(frames: AsyncIterator[list[Event]]) -> None:
    async for _ in frames:
        pass


def rows_of(market: Market, count: int) -> list[Row]:
    return market.bars(market.pairs["BTC"], MINUTE, flat=False)[-count:]


async def test_a_candle_is_over_when_a_later_one_begins() -> None:
    async with streaming(BTC) as (server, connection):
        first, second, third = rows_of(server.wire.market, 3)
        reading = asyncio.create_task(take(connection, lambda events: len(events) >= 4))
        await server.send("candle1m", "BTC-USDT", candle(first._replace(close=first.low, volume=first.volume / 2)))
        await server.send("candle1m", "BTC-USDT", candle(first))
        await server.send("trades", "BTC-USDT", trade("BTC-USDT", 7, first.time + 1))
        await server.send("candle1m", "BTC-USDT", candle(second))
        await server.send("candle1m", "BTC-USDT", ["1", "2"])  # no candle
        await server.send("candle1m", "BTC-USDT", candle(third))
        events = await reading
    bars = [event for event in events if isinstance(event, LiveBar)]
    assert [(one.open_ms, one.close, one.volume, one.closed) for one in bars] == [
        (row.time, row.close, row.volume, True) for row in (first, second)
    ]
    (price,) = [event for event in events if hasattr(event, "price")]
    assert (price.instrument, price.time_ms, price.price, price.taker_buy) == (BTC[0], first.time + 1, 100.0, False)
    (bad,) = [event for event in events if isinstance(event, Notice)]
    assert bad.instrument == BTC[0]
    assert "malformed" in bad.text


async def test_a_refused_subscription_costs_itself_and_an_end_is_told() -> None:
    async with streaming(BTC, ("NOPE-USDT@ccxt_okx", "NOPE/USDT")) as (server, connection):
        first, second = rows_of(server.wire.market, 2)

        def enough(events: list[Event]) -> bool:
            refused = sum(isinstance(event, Notice) and event.kind == "refused" for event in events)
            return refused == 2 and any(isinstance(event, LiveBar) for event in events)

        async with asyncio.timeout(20), aclosing(connection.events()) as frames:
            events: list[Event] = []
            sending = asyncio.create_task(server.send("candle1m", "BTC-USDT", candle(first), candle(second)))
            async for frame in frames:
                events += frame
                if enough(events):
                    break
            await sending
            await server.cut()
            with pytest.raises(StreamClosed, match="ccxt_okx"):
                await _exhaust(frames)
    refused = {event.instrument for event in events if isinstance(event, Notice) and event.kind == "refused"}
    assert refused == {"NOPE-USDT@ccxt_okx"}


async def test_minutes_of_the_stream_are_provisional_until_rest_has_stated_them(postgres_url: str) -> None:
    store = Store(postgres_url)
    store.instruments.add([Instrument.crypto("BTC-USDT")])
    store.instruments.set_listings("ccxt_okx", [ListingRow("BTC-USDT", "BTC/USDT")])
    store.instruments.assign_venue("ccxt_okx")
    async with StreamingServer(OkxWire(Market())) as server:
        market = server.wire.market
        first, second = rows_of(market, 3)[:2]
        market.now = first.time + MINUTE + 1_000  # REST does not state the minute yet: it is too new
        settings = server.wire.settings(server.url).model_copy(update={"venue": "ccxt_okx", "ingest_lease_seconds": 3})
        stop = asyncio.Event()
        task = asyncio.create_task(run_ingest(settings, stop=stop, store=store))

        async def stored() -> list[tuple[int, bool, float]]:
            span = from_unix_ms(first.time - MINUTE), from_unix_ms(second.time + MINUTE)
            rows = await asyncio.to_thread(store.reader.read, ["BTC-USDT"], M1, *span)
            return rows.select(pl.col("open_time").dt.epoch("ms"), "complete", "close").rows()

        async def until(rows: list[tuple[int, bool, float]]) -> None:
            async with asyncio.timeout(60):
                while await stored() != rows:
                    await asyncio.sleep(0.05)

        try:
            await server.send("candle1m", "BTC-USDT", candle(first))
            await server.send("candle1m", "BTC-USDT", candle(second))
            await until([(first.time, False, first.close)])
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)


def test_venues_say_whether_they_stream_without_importing_ccxt() -> None:
    assert has_stream("ccxt_okx")
    assert not has_stream("ccxt_bitstamp"), "it streams trades, but no candles"
    assert not has_stream("ccxt_kucoin"), "the address of its stream takes a POST"
