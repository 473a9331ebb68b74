"""The application under uvicorn, with the patience of a server that is left alone for years."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from crypto_pipeline.api.app import create_app
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import Settings
from crypto_pipeline.web_guard import WebGuard, allowed_names

#: Seconds for a whole request to arrive, for an idle connection to say something, for sent bytes to be acknowledged.
ARRIVAL, IDLE, ACKNOWLEDGED = 10.0, 30, 30
_MOST_CONNECTIONS = 2_000


class PatientProtocol(HttpToolsProtocol):
    """HTTP whose half-open connections end: uvicorn itself waits for ever for the rest of a request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client came; it has ARRIVAL seconds for its first request."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with suppress(OSError):  # not a TCP socket
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ACKNOWLEDGED * 1000)
        self._arm()

    def on_message_begin(self) -> None:
        """Another request begins."""
        super().on_message_begin()
        self._arm()

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


def config(reader: Reader, settings: Settings, port: int) -> uvicorn.Config:
    """How uvicorn is to serve ``reader``."""
    token = settings.api_token
    inner = create_app(reader, token=token.get_secret_value() if token else None, rate=settings.api_rate)
    app = WebGuard(inner, allowed_names(settings.host, settings.allowed_hosts))
    return uvicorn.Config(
        app, host=settings.host, port=port, http=PatientProtocol, ws="none", access_log=False, log_level="warning",
        server_header=False, timeout_keep_alive=IDLE, limit_concurrency=_MOST_CONNECTIONS, backlog=1024,
        timeout_graceful_shutdown=5,
    )  # fmt: skip


def serve(settings: Settings, url: str) -> None:
    """Serve the database behind ``url`` until a signal ends it."""
    reader = Reader(
        url, connections=settings.api_connections, patience=2.0, statement_timeout=settings.api_statement_seconds,
        cache_bytes=settings.api_cache_mb * 2**20,
    )  # fmt: skip
    server = uvicorn.Server(config(reader, settings, settings.api_port))
    # what was loaded stays: looking through it again and again for garbage would hold up every client at once
    gc.collect()
    gc.freeze()
    server.run()
