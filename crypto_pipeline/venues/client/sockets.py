"""TCP and TLS connections for httpcore, on asyncio itself.

httpcore's own backend uses anyio. It costs 0.1 ms more per request, and its error "All connection attempts failed"
hides the reason that the operating system gives.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore

#: Unread bytes above which reading from the socket pauses, and below which it resumes.
_PAUSE_ABOVE, _RESUME_BELOW = 256 * 1024, 64 * 1024


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections on the running event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connected socket. Raises httpcore.ConnectError and httpcore.ConnectTimeout."""
        try:
            async with asyncio.timeout(timeout):
                _, buffer = await asyncio.get_running_loop().create_connection(
                    _ReceiveBuffer,
                    host,
                    port,
                    local_addr=None if local_address is None else (local_address, 0),
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host}:{port} in {timeout:g} s") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(buffer)

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)


class _ReceiveBuffer(asyncio.Protocol):
    """Bytes that were received but not read yet."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._notify_reader()
        if len(self.data) > _PAUSE_ABOVE and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self.ended = True
        self._notify_reader()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended, self.error = True, error
        self._notify_reader()

    def take(self, most: int) -> bytes:
        """Remove and return up to ``most`` bytes."""
        taken = bytes(self.data[:most])
        del self.data[:most]
        if self._paused and len(self.data) < _RESUME_BELOW and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return taken

    def _notify_reader(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection. One task reads at a time."""

    def __init__(self, buffer: _ReceiveBuffer) -> None:
        self._buffer = buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """The next bytes; none at the end. Raises httpcore.ReadError and httpcore.ReadTimeout."""
        buffer = self._buffer
        if not buffer.data and not buffer.ended:
            await self._wait(timeout)
        if not buffer.data and buffer.error is not None:
            raise httpcore.ReadError(str(buffer.error) or type(buffer.error).__name__) from buffer.error
        return buffer.take(max_bytes)

    async def _wait(self, timeout: float | None) -> None:  # noqa: ASYNC109
        # A plain timer, because asyncio.timeout would cost as much as the read itself.
        loop = asyncio.get_running_loop()
        waiter = self._buffer.waiter = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _expire, waiter, timeout)
        try:
            await waiter
        finally:
            self._buffer.waiter = None
            if timer is not None:
                timer.cancel()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Queue a request for sending, without waiting, because requests are small. Raises httpcore.WriteError."""
        if not buffer:
            return
        transport = self._transport
        if transport.is_closing():
            raise httpcore.WriteError("the connection is closed")
        transport.write(buffer)

    async def aclose(self) -> None:
        """Close at once: no request is in flight."""
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt the connection by TLS. Raises httpcore.ConnectError and httpcore.ConnectTimeout."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                secured = await loop.start_tls(
                    self._transport, self._buffer, ssl_context, server_hostname=server_hostname
                )
            if secured is None:
                raise ConnectionResetError("the connection was closed during the TLS handshake")
        except TimeoutError as error:
            await self.aclose()
            raise httpcore.ConnectTimeout(f"no TLS handshake with {server_hostname} in {timeout:g} s") from error
        except OSError as error:  # SSLError is one
            await self.aclose()
            raise httpcore.ConnectError(str(error) or type(error).__name__) from error
        except BaseException:
            await self.aclose()
            raise
        self._buffer.transport = secured
        return self

    def get_extra_info(self, info: str) -> Any:
        """Data that httpcore requests: the TLS object, the socket, and whether an idle connection is readable."""
        if info == "is_readable":  # an idle connection is readable when it was closed, or got bytes without a request
            return bool(self._buffer.data) or self._buffer.ended
        names = {"socket": "socket", "ssl_object": "ssl_object", "client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None

    @property
    def _transport(self) -> asyncio.Transport:
        transport = self._buffer.transport
        assert transport is not None, "connection_made comes first"
        return transport


def _expire(waiter: asyncio.Future[None], seconds: float) -> None:
    if not waiter.done():
        waiter.set_exception(httpcore.ReadTimeout(f"no data for {seconds:g} s"))
