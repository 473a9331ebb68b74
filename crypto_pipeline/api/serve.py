"""The application under uvicorn, with limits on time and number of connections."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from crypto_pipeline.api.app import create_app
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.forecasts.stored.cache import ForecastCache
from crypto_pipeline.forecasts.stored.loop import ForecastLoop
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import Settings
from crypto_pipeline.web_guard import WebGuard, allowed_names

#: Seconds for a whole request to arrive, for an idle connection to say something, for sent bytes to be acknowledged.
ARRIVAL, IDLE, ACKNOWLEDGED = 10.0, 30, 30
#: Seconds for a websocket that was closed to take the reason; bytes that one message of a client may have, and that are
#: sent before a client takes them.
LEAVING, _LONGEST_MESSAGE, _SENT_AHEAD = 5.0, 1 << 16, 1 << 16
#: Connections at once, as far as the system lets a process have; above it idle ones go, so many at a time.
_MOST_CONNECTIONS, _SPARE_FILES, _AT_A_TIME = 2_000, 200, 50


class BoundedProtocol(HttpToolsProtocol):
    """HTTP whose half-open connections end: uvicorn itself waits for ever for the rest of a request."""

    _timer: asyncio.TimerHandle | None = None
    #: Since when it has been idle, by the loop's clock.
    idle_since = 0.0
    most = _MOST_CONNECTIONS

    def connection_made(self, transport: Any) -> None:
        """A client came; it has ARRIVAL seconds for its first request. Where there are too many, idle ones go."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        if len(self.connections) > self.most:
            make_room([each for each in self.connections if isinstance(each, BoundedProtocol) and each is not self])
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with suppress(OSError):  # not a TCP socket
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ACKNOWLEDGED * 1000)
        self._arm()

    def on_message_begin(self) -> None:
        """Another request begins."""
        super().on_message_begin()
        self._arm()

    def on_response_complete(self) -> None:
        """The client may ask again."""
        super().on_response_complete()
        self.idle_since = self.loop.time()

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or bool(cycle.response_complete)

    def handle_websocket_upgrade(self) -> None:
        """From now on it is a websocket."""
        self._disarm()
        super().handle_websocket_upgrade()

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        self._disarm()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(ARRIVAL, self.transport.close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """A websocket that ends when it is closed: uvicorn itself waits until a stalled client takes what was sent."""

    def connection_made(self, transport: Any) -> None:
        """A client came: what it does not take is kept here, not in a buffer of the system that grows to megabytes."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AHEAD)

    async def send(self, message: Any) -> None:
        """Send; a close is not held up by what the client did not take, and the connection ends soon after it."""
        if message["type"] == "websocket.close" and self.handshake_complete and not self.disconnected:
            self.writable.set()
            self.loop.call_later(LEAVING, self.transport.abort)
        await super().send(message)


def make_room(connections: Sequence[BoundedProtocol]) -> None:
    """Close idle connections: of the address that has most of them those that were idle longest."""
    idle: dict[str, list[BoundedProtocol]] = {}
    for each in connections:
        if each.idle and not each.transport.is_closing():
            idle.setdefault(each.client[0] if each.client else "", []).append(each)
    if idle:
        crowd = max(idle.values(), key=len)
        crowd.sort(key=lambda each: each.idle_since)
        for each in crowd[:_AT_A_TIME]:
            each.transport.close()


def _allowed_connections() -> int:
    """As many as the system lets this process have, up to _MOST_CONNECTIONS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft - _SPARE_FILES)


def config(reader: Reader, settings: Settings, port: int, forecasts: ForecastCache | None = None) -> uvicorn.Config:
    """How uvicorn is to serve ``reader``; ``forecasts``: what a loop keeps fresh."""
    BoundedProtocol.most = _allowed_connections()
    token = settings.api_token
    figures = DeploymentFigures(reader.store.url, settings)
    secret = token.get_secret_value() if token else None
    inner = create_app(reader, figures=figures, forecasts=forecasts, token=secret, rate=settings.api_rate)
    app = WebGuard(inner, allowed_names(settings.host, settings.allowed_hosts))
    return uvicorn.Config(
        app, host=settings.host, port=port, http=BoundedProtocol, access_log=False, log_level="warning",
        ws=BoundedWebSocket, ws_max_size=_LONGEST_MESSAGE, ws_per_message_deflate=False,
        server_header=False, timeout_keep_alive=IDLE, backlog=1024, timeout_graceful_shutdown=5,
    )  # fmt: skip


def serve(settings: Settings, url: str) -> None:
    """Serve the database behind ``url`` until a signal ends it."""
    read_url = settings.database_read_url
    reader = Reader(
        url, read_url=read_url.get_secret_value() if read_url else None, read_lag=settings.database_read_lag,
        connections=settings.api_connections, patience=2.0, statement_timeout=settings.api_statement_seconds,
        cache_bytes=settings.api_cache_mb * 2**20,
    )  # fmt: skip
    forecasts = ForecastCache(reader.store)
    server = uvicorn.Server(config(reader, settings, settings.api_port, forecasts))
    stop = threading.Event()
    if settings.forecasts:
        loop = ForecastLoop(reader.store, forecasts)
        threading.Thread(target=loop.run, args=[stop], name="forecasts", daemon=True).start()
    # what was loaded stays: looking through it again and again for garbage would hold up every client at once
    gc.collect()
    gc.freeze()
    try:
        server.run()
    finally:
        stop.set()
