"""What the tests of streams share: a client, and the tape as messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline_tests.replay.conftest import NOW

Message = dict[str, Any]
ENDED = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)


class Listener:
    """One stream connection, read message by message."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self, timeout: float = 10) -> Any:
        """The next message, parsed."""
        message = await self.socket.receive(timeout)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def ask(self, **request: Any) -> Any:
        """Say something and wait for what is not a market message."""
        await self.socket.send_str(json.dumps(request))
        return await self.answer()

    async def answer(self) -> Any:
        """The next message that is not of the market."""
        while True:
            found = await self.next()
            if "stream" not in found and "e" not in found:
                return found

    async def until(self, over: Callable[[Message], bool]) -> list[Message]:
        """Messages up to the first for which ``over`` holds, that one included."""
        found = []
        while True:
            found.append(await self.next())
            if over(found[-1]):
                return found

    async def end(self) -> aiohttp.WSMessage:
        """Read on until the connection ends."""
        while True:
            message = await self.socket.receive(10)
            if message.type in ENDED:
                return message

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            # Not the socket's own timeout, which begins anew with every ping.
            await asyncio.wait_for(self.socket.receive(), seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def exchange_at(now: datetime = NOW, **options: Any) -> AsyncIterator[ReplayExchange]:
    """An exchange whose clock stands still until it is put forward, so that tests say when something happens."""
    options = {"speed": 0, "instruments": 3, "weight_limit": 0} | options
    async with ReplayExchange(now=now, **options) as exchange:
        yield exchange


@asynccontextmanager
async def listen(exchange: ReplayExchange, path: str, **options: Any) -> AsyncIterator[Listener]:
    """A connection to ``path``."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(exchange.ws_url + path, **options) as socket,
    ):
        yield Listener(socket)


async def subscribed(listener: Listener) -> None:
    """Wait until the exchange has handled what the connection asked for."""
    assert (await listener.ask(method="LIST_SUBSCRIPTIONS", id=99))["id"] == 99


def put_forward(exchange: ReplayExchange, seconds: float) -> None:
    """Let market time pass."""
    exchange.clock.set(exchange.clock.now() + timedelta(seconds=seconds))


def tape(exchange: ReplayExchange, symbol: str, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """Aggregate trades of (start, end] as tuples to compare with."""
    frame = exchange.tape.trades(symbol, start + timedelta(milliseconds=1), end + timedelta(milliseconds=1))
    return [
        (row["trade_id"], row["first_id"], row["last_id"], row["time"], row["price"], row["quantity"], side)
        for row in frame.iter_rows(named=True)
        for side in [row["taker_side"] == "sell"]
    ]
