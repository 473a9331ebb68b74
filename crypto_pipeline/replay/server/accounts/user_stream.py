"""``/ws-api/v3``: the user data stream, to which a client subscribes by a signed message, and what feeds it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from crypto_pipeline.replay.faults.book import Call, FaultBook
from crypto_pipeline.replay.faults.orders import UserEvents
from crypto_pipeline.replay.orders.types import OrderEvent
from crypto_pipeline.replay.server.accounts.desk import AccountDesk
from crypto_pipeline.replay.server.accounts.rendering import report
from crypto_pipeline.replay.server.accounts.signed import check_time, signature
from crypto_pipeline.replay.server.parameters import Refused

log = logging.getLogger(__name__)
#: Real seconds between two looks at the tape for open orders.
_PAUSE = 0.05


@dataclass(slots=True, eq=False)
class _Listener:
    """A connection: the key that it subscribed with, and how many events it was told."""

    socket: web.WebSocketResponse
    key: str | None = None
    told: int = 0
    late: set[asyncio.Task[None]] = field(default_factory=set)


class UserStream:
    """Tells clients of executions as they happen, and keeps open orders up with the tape while nobody asks."""

    def __init__(self, desk: AccountDesk, faults: FaultBook) -> None:
        self.desk, self.faults = desk, faults
        self._listeners: set[_Listener] = set()

    def routes(self) -> list[web.RouteDef]:
        """The route to add to the application."""
        return [web.get("/ws-api/v3", self.serve)]

    async def playing(self, _: web.Application) -> AsyncIterator[None]:
        """The feeding task, for ``cleanup_ctx``."""
        task = asyncio.create_task(self._run(), name="replay-orders")
        yield
        for listener in list(self._listeners):
            await listener.socket.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                self.desk.advance()
                for listener in list(self._listeners):
                    await self._tell(listener)
            except Exception:
                log.exception("the user data stream has failed")

    async def _tell(self, listener: _Listener) -> None:
        if listener.key is None:
            return
        events = self.desk.accounts[listener.key].events
        for event in events[listener.told :]:
            listener.told += 1
            await self._send(listener, event)

    async def _send(self, listener: _Listener, event: OrderEvent) -> None:
        text = _text({"subscriptionId": 0, "event": report(event)})
        fault = self.faults.strikes(UserEvents, Call("userData", event.order.request.symbol))
        if fault is None or fault.manner == "duplicate":
            for _ in range(1 if fault is None else 2):
                await _send_text(listener, text)
        elif fault.manner == "delay":
            task = asyncio.create_task(_send_later(listener, text, fault.seconds))
            listener.late.add(task)
            task.add_done_callback(listener.late.discard)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, until either side ends it."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        listener = _Listener(socket)
        self._listeners.add(listener)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(_text(self._reply(listener, message.data)))
        finally:
            self._listeners.discard(listener)
        return socket

    def _reply(self, listener: _Listener, text: str) -> dict[str, Any]:
        try:
            given = json.loads(text)
            number, method, params = given["id"], given["method"], given.get("params", {})
        except (ValueError, KeyError, TypeError):
            return {
                "id": None,
                "status": 400,
                "error": {"code": -1135, "msg": "This error code indicates a malformed request."},
            }
        try:
            return {"id": number, "status": 200, "result": self._do(listener, method, params), "rateLimits": []}
        except Refused as refused:
            return {"id": number, "status": 400, "error": {"code": refused.code, "msg": refused.message}}

    def _do(self, listener: _Listener, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "time":
            return {"serverTime": self.desk.clock.now_ms()}
        if method == "ping":
            return {}
        if method == "userDataStream.unsubscribe":
            listener.key = None
            return {}
        if method != "userDataStream.subscribe.signature":
            raise Refused(-1134, f"Unknown method {method!r}.")
        key = self._checked(params)
        listener.key, listener.told = key, len(self.desk.accounts[key].events)
        return {"subscriptionId": 0}

    def _checked(self, params: dict[str, Any]) -> str:
        """The key of a signed subscription. Raises Refused."""
        values = {name: str(value) for name, value in params.items()}
        given = values.pop("signature", "")
        key = self.desk.keys.get(values.get("apiKey", ""))
        if key is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.")
        check_time(values, self.desk.clock.now_ms())
        if signature(key.secret, "&".join(f"{name}={values[name]}" for name in sorted(values))) != given:
            raise Refused(-1022, "Signature for this request is not valid.")
        return values["apiKey"]


async def _send_text(listener: _Listener, text: str) -> None:
    if not listener.socket.closed:
        try:
            await listener.socket.send_str(text)
        except ConnectionError:
            pass  # it has gone


async def _send_later(listener: _Listener, text: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await _send_text(listener, text)


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))
