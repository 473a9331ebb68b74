"""Sockets of exchanges that are reached through ccxt: what is subscribed to is sent by the test."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from aiohttp import WSMsgType, web

from crypto_pipeline_tests.builders.scripted_others import Deal
from crypto_pipeline_tests.venues.contract.ccxt_wires import BitstampWire, CcxtWire, KucoinWire, OkxWire, numbers
from crypto_pipeline_tests.venues.contract.market import Row
from crypto_pipeline_tests.venues.contract.server import ScriptedServer, json_answer


class StreamingServer(ScriptedServer):
    """A wire and its sockets. ``send`` and its like wait until the topic is subscribed to."""

    def __init__(self, wire: CcxtWire) -> None:
        super().__init__(wire)
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.changed = asyncio.Event()
        #: names of pairs whose subscription is refused
        self.refused: set[str] = set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return await super()._handle(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await self.opened(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self.received(socket, message.data)
        return socket

    async def opened(self, socket: web.WebSocketResponse) -> None:
        """Greet."""

    @abstractmethod
    async def received(self, socket: web.WebSocketResponse, text: str) -> None:
        """Answer a message of the client."""

    @abstractmethod
    async def candle(self, name: str, row: Row) -> None:
        """Send what the exchange says of a minute of the pair that it calls ``name``."""

    @abstractmethod
    async def trade(self, name: str, deal: Deal) -> None:
        """Send a trade."""

    def subscribed(self, topic: str, socket: web.WebSocketResponse) -> None:
        self.sockets[topic] = socket
        self.changed.set()

    async def socket_of(self, topic: str) -> web.WebSocketResponse:
        while topic not in self.sockets or self.sockets[topic].closed:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return self.sockets[topic]

    async def cut(self) -> None:
        """Close all sockets."""
        for socket in {id(each): each for each in self.sockets.values()}.values():
            await socket.close()


class OkxServer(StreamingServer):
    """OKX."""

    def __init__(self, wire: OkxWire) -> None:
        super().__init__(wire)

    async def received(self, socket: web.WebSocketResponse, text: str) -> None:
        if text == "ping":
            await socket.send_str("pong")
            return
        for topic in json.loads(text)["args"]:
            name = topic["instId"]
            if name in self.refused:
                said = {"event": "error", "code": "60018", "msg": f"{name} doesn't exist", "connId": "a"}
                await socket.send_json(said)
                continue
            await socket.send_json({"event": "subscribe", "arg": topic, "connId": "a"})
            self.subscribed(f"{topic['channel']} {name}", socket)

    async def send(self, channel: str, name: str, *data: Any) -> None:
        socket = await self.socket_of(f"{channel} {name}")
        await socket.send_json({"arg": {"channel": channel, "instId": name}, "data": list(data)})

    async def candle(self, name: str, row: Row) -> None:
        await self.send("candle1m", name, okx_candle(row))

    async def trade(self, name: str, deal: Deal) -> None:
        await self.send("trades", name, self.wire._trade(self.wire.pair_of(name), deal))  # type: ignore[attr-defined]


class KucoinServer(StreamingServer):
    """KuCoin: a POST gives the address of the socket, and a token that it takes."""

    def __init__(self, wire: KucoinWire) -> None:
        super().__init__(wire)
        self.tokens = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/bullet-public":
            queue = self._scripts[" token"]
            if queue:
                return await queue.popleft()(request)
            self.tokens += 1
            server = {"endpoint": f"{self.url.replace('http', 'ws')}/endpoint", "pingInterval": 18000}
            return json_answer({"code": "200000", "data": {"token": f"t{self.tokens}", "instanceServers": [server]}})
        if "Upgrade" in request.headers and request.query.get("token") != f"t{self.tokens}":
            return json_answer({"code": "401", "msg": "token"}, 401)
        return await super()._handle(request)

    async def opened(self, socket: web.WebSocketResponse) -> None:
        await socket.send_json({"id": "a", "type": "welcome"})

    async def received(self, socket: web.WebSocketResponse, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "ping":
            await socket.send_json({"id": message["id"], "type": "pong"})
            return
        await socket.send_json({"id": message["id"], "type": "ack"})
        self.subscribed(message["topic"], socket)

    async def send(self, topic: str, subject: str, data: dict[str, Any]) -> None:
        socket = await self.socket_of(topic)
        await socket.send_json({"type": "message", "topic": topic, "subject": subject, "data": data})

    async def candle(self, name: str, row: Row) -> None:
        values = numbers(row, "open", "close", "high", "low", "volume", "quote_volume")
        data = {"symbol": name, "candles": [str(row.time // 1000), *values], "time": row.time * 1_000_000}
        await self.send(f"/market/candles:{name}_1min", "trade.candles.update", data)

    async def trade(self, name: str, deal: Deal) -> None:
        data = {
            "sequence": str(deal.number), "symbol": name, "side": "buy" if deal.taker_buy else "sell",
            "size": deal.size, "price": deal.price, "takerOrderId": "a", "makerOrderId": "b",
            "tradeId": f"6{deal.number:023x}", "time": str(deal.us * 1000), "type": "match",
        }  # fmt: skip
        await self.send(f"/market/match:{name}", "trade.l3match", data)


class BitstampServer(StreamingServer):
    """Bitstamp: trades alone."""

    def __init__(self, wire: BitstampWire) -> None:
        super().__init__(wire)

    async def received(self, socket: web.WebSocketResponse, text: str) -> None:
        message = json.loads(text)
        if message["event"] == "bts:subscribe":
            channel = message["data"]["channel"]
            await socket.send_json({"event": "bts:subscription_succeeded", "channel": channel, "data": {}})
            self.subscribed(channel, socket)

    async def send(self, name: str, data: dict[str, Any]) -> None:
        channel = f"live_trades_{name}"
        socket = await self.socket_of(channel)
        await socket.send_json({"event": "trade", "channel": channel, "data": data})

    async def candle(self, name: str, row: Row) -> None:
        raise AssertionError("it streams no candles")

    async def trade(self, name: str, deal: Deal) -> None:
        data = {
            "id": deal.number, "timestamp": str(deal.us // 1_000_000), "microtimestamp": str(deal.us),
            "amount": float(deal.size), "amount_str": deal.size, "price": float(deal.price), "price_str": deal.price,
            "type": 0 if deal.taker_buy else 1, "buy_order_id": 1, "sell_order_id": 2,
        }  # fmt: skip
        await self.send(name, data)


def okx_candle(row: Row) -> list[str]:
    """A minute as OKX sends it."""
    return [str(row.time), *numbers(row, "open", "high", "low", "close", "volume", "quote_volume", "quote_volume"), "0"]


def deals_between(deals: Sequence[Deal], first_ms: int, end_ms: int) -> list[Deal]:
    """Trades of ``[first_ms, end_ms)``."""
    return [deal for deal in deals if first_ms <= deal.us // 1000 < end_ms]
