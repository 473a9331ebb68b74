"""A websocket server that says what the test tells it to. Real sockets; pings are the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

Play = Callable[["Line"], Awaitable[None]]


class Line:
    """One connection, seen from the venue."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self.request = socket, request

    async def say(self, *texts: str) -> None:
        for text in texts:
            await self.socket.send_str(text)

    async def heard(self) -> Any:
        """The next message from the client: text decoded, or (type, payload) of another frame."""
        message = await self.socket.receive()
        return message.json() if message.type is WSMsgType.TEXT else (message.type, message.data)

    def cut(self) -> None:
        assert self.request.transport is not None
        self.request.transport.abort()


class StreamServer:
    def __init__(self, play: Play) -> None:
        self.play = play
        self.lines: list[Line] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        line = Line(socket, request)
        self.lines.append(line)
        await self.play(line)
        if not socket.closed:
            await socket.close()
        return socket


@asynccontextmanager
async def serving(play: Play | None = None, plain: Any = None) -> AsyncIterator[StreamServer]:
    """``play`` speaks to each connection; ``plain`` answers the handshake with HTTP instead."""
    server = StreamServer(play or forever)
    app = web.Application()
    app.router.add_get("/{path:.*}", plain or server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def forever(_: Line) -> None:
    await asyncio.Event().wait()
