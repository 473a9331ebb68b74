"""``/ws`` and ``/stream``: Binance's market streams over a hub."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from crypto_pipeline.replay.faults.connection import TOO_MANY
from crypto_pipeline.replay.faults.stream import WsRefuse
from crypto_pipeline.replay.server.commands import answer
from crypto_pipeline.replay.server.hub import StreamHub
from crypto_pipeline.replay.server.rest import json_answer
from crypto_pipeline.replay.wire.connection import StreamRules, Subscriber, transport_of

log = logging.getLogger(__name__)
_PONG = b"\x8a"


class StreamHandlers:
    """The WebSocket endpoints. One scheduler serves all connections while the application runs."""

    def __init__(self, hub: StreamHub, rules: StreamRules, *, count_connects: bool) -> None:
        self.hub, self.rules, self.count_connects = hub, rules, count_connects
        self._failed = False
        self._connects: dict[str, deque[float]] = {}

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
        task.add_done_callback(self._ended)
        yield
        for connection in list(self.hub.connections.values()):
            connection.close(1001, "going away")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Cut all connections after a failure of the scheduler: open silent ones would look like a quiet market."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("the streams have failed: restart the exchange", exc_info=task.exception())
        self._failed = True
        for connection in list(self.hub.connections.values()):
            connection.cut()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, until either side ends it."""
        combined = request.path == "/stream"
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        streams = [name for name in names.split("/") if name]
        if len(set(streams)) > self.rules.max_streams:
            return web.Response(status=400, text=f"at most {self.rules.max_streams} streams per connection")
        address = request.remote or ""
        refused = self.hub.lines.admit(address, list(self.hub.connections.values()))
        refusal = self._refusal(address, refused)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Subscriber(transport_of(request), self.rules, combined=combined, address=address)
        if refused is not None:
            self.hub.lines.refuse(connection)
            return socket
        self.hub.join(connection)
        try:
            for stream in streams:
                self.hub.subscribe(connection, stream)
                # The first subscription of a symbol makes its day, so other tasks may run before.
                await asyncio.sleep(0)
            await self._listen(socket, connection)
        finally:
            self.hub.part(connection)
        return socket

    def _refusal(self, address: str, refused: WsRefuse | None) -> web.Response | None:
        """The answer that refuses a handshake; None if it is accepted."""
        now = time.monotonic()
        if self._failed or now < self.hub.lines.down_until:
            return json_answer(b"<html><body>503 Service Temporarily Unavailable</body></html>", 503)
        if refused is not None and refused.manner == "http":
            return _too_many(refused.retry_after)
        recent = self._connects.setdefault(address, deque(maxlen=self.rules.connects))
        full = len(recent) == self.rules.connects and now - recent[0] < self.rules.connects_seconds
        if full and self.count_connects:
            return _too_many(math.ceil(recent[0] + self.rules.connects_seconds - now))
        recent.append(now)
        return None

    async def _listen(self, socket: web.WebSocketResponse, connection: Subscriber) -> None:
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


def _too_many(retry_after: int) -> web.Response:
    return json_answer({"code": -1003, "msg": TOO_MANY}, 429, {"Retry-After": str(retry_after)})
