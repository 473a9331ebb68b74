"""``/ws`` and ``/stream``: Binance's market streams over a hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from crypto_pipeline.replay.connection import StreamConnection, StreamRules, transport_of
from crypto_pipeline.replay.control_messages import answer
from crypto_pipeline.replay.hub import StreamHub

_PONG = b"\x8a"


class StreamHandlers:
    """The WebSocket endpoints. One scheduler plays for all connections as long as the application runs."""

    def __init__(self, hub: StreamHub, rules: StreamRules) -> None:
        self.hub, self.rules = hub, rules

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        return [
            web.get("/ws", self.serve),
            web.get("/ws/{streams:.+}", self.serve),
            web.get("/stream", self.serve),
        ]

    async def playing(self, _: web.Application) -> AsyncIterator[None]:
        """The scheduler's task, for ``cleanup_ctx``."""
        task = asyncio.create_task(self.hub.run(), name="replay-streams")
        yield
        for connection in list(self.hub.connections.values()):
            connection.close(1001, "going away")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, until either side ends it."""
        combined = request.path == "/stream"
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        streams = [name for name in names.split("/") if name]
        if len(set(streams)) > self.rules.max_streams:
            return web.Response(status=400, text=f"at most {self.rules.max_streams} streams a connection")
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = StreamConnection(
            transport_of(request), self.rules, combined=combined, address=request.remote or ""
        )
        self.hub.join(connection)
        try:
            for stream in streams:
                self.hub.subscribe(connection, stream)
            await self._listen(socket, connection)
        finally:
            self.hub.part(connection)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, connection: StreamConnection) -> None:
        async for message in socket:
            now = time.monotonic()
            if not connection.heard(now):
                connection.close(1008, "Too many requests")
            if connection.gone:
                return
            if message.type is WSMsgType.PONG:
                connection.ponged(bytes(message.data))
            elif now < connection.frozen_until:
                continue
            elif message.type is WSMsgType.PING:
                payload = bytes(message.data)
                connection.take_frame(_PONG + bytes((len(payload),)) + payload)
                connection.flush(now)
            elif message.type is WSMsgType.TEXT:
                said = answer(self.hub, connection, message.data)
                connection.say(said)
                connection.flush(time.monotonic())
