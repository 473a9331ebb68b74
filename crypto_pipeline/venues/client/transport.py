"""Connections of one HTTP client: an httpx transport that gives each request its own connection.

httpx's pool offers one idle connection to several requests at once, and all but one must try again. The client
never has more requests than connections, so a stack of idle connections suffices, at a third of the cost.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager

import httpcore
import httpx

from crypto_pipeline.venues.client.proxy import HttpProxy, proxy_for
from crypto_pipeline.venues.client.sockets import AsyncioBackend

#: Seconds that an idle connection is kept.
KEEP_ALIVE = 30.0
#: httpx has an exception of the same name for each of httpcore's.
_EXCEPTIONS: dict[type[Exception], type[Exception]] = {
    kind: getattr(httpx, kind.__name__)
    for kind in (
        httpcore.ConnectTimeout, httpcore.ReadTimeout, httpcore.WriteTimeout, httpcore.PoolTimeout,
        httpcore.ConnectError, httpcore.ReadError, httpcore.WriteError, httpcore.ProxyError,
        httpcore.LocalProtocolError, httpcore.RemoteProtocolError, httpcore.UnsupportedProtocol,
    )
}  # fmt: skip
_Connection = httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy


class ConnectionStack(httpx.AsyncBaseTransport):
    """Connections for the requests of one event loop, at most one per concurrent request; the last used is reused
    first.
    """

    def __init__(self) -> None:
        self._idle: list[_Connection] = []
        self._closed = False
        self._backend = AsyncioBackend()
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over an idle connection or a new one. Raises httpx.TransportError."""
        address = request.url
        # httpx's extension "target" is applied here: through a proxy httpcore would send it without its host.
        target = request.extensions.get("target", address.raw_path)
        url = httpcore.URL(scheme=address.raw_scheme, host=address.raw_host, port=address.port, target=target)
        connection = await self._connection(url, address)
        extensions = {name: value for name, value in request.extensions.items() if name != "target"}
        asked = httpcore.Request(request.method, url, headers=request.headers.raw, extensions=extensions)
        try:
            with _ExceptionsOfHttpx():
                response = await connection.handle_async_request(asked)
        except BaseException:
            await connection.aclose()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, connection, self._release),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close idle connections. A connection whose body is still read closes together with its response."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.aclose()

    async def _release(self, connection: _Connection) -> None:
        if self._closed:
            await connection.aclose()
        else:
            self._idle.append(connection)

    async def _connection(self, url: httpcore.URL, address: httpx.URL) -> _Connection:
        origin = url.origin
        if self._idle and not _usable(self._idle[0], origin):  # the one that was idle for the longest time
            await self._idle.pop(0).aclose()
        while self._idle:
            connection = self._idle.pop()
            if _usable(connection, origin):
                return connection
            await connection.aclose()
        secure = origin.scheme == b"https"
        proxy = proxy_for(str(address))
        if proxy is not None:
            return self._proxied(proxy)
        return httpcore.AsyncHTTPConnection(
            origin,
            ssl_context=self._context() if secure else None,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=self._backend,
        )

    def _proxied(self, proxy: HttpProxy) -> httpcore.AsyncHTTPProxy:
        return httpcore.AsyncHTTPProxy(
            proxy.url,
            proxy_auth=proxy.auth,
            ssl_context=self._context(),
            max_connections=1,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=self._backend,
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()  # the certificates of this machine
        return self._tls


def _usable(connection: _Connection, origin: httpcore.Origin) -> bool:
    if isinstance(connection, httpcore.AsyncHTTPProxy):
        return True  # it manages its connection itself
    return connection.can_handle_request(origin) and connection.is_available() and not connection.has_expired()


class _Body(httpx.AsyncByteStream):
    """A streamed body. Closing it returns the connection, or closes the connection if bytes were left unread."""

    def __init__(
        self,
        response: httpcore.Response,
        connection: _Connection,
        release: Callable[[_Connection], Awaitable[None]],
    ) -> None:
        self._response, self._connection, self._release = response, connection, release
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _ExceptionsOfHttpx():
            async for piece in self._response.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._response.aclose()
        except BaseException:
            await self._connection.aclose()
            raise
        await self._release(self._connection)


class _ExceptionsOfHttpx(AbstractContextManager[None]):
    """Converts httpcore's exceptions to httpx's."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            mapped = _EXCEPTIONS.get(type(error))
            if mapped is not None:
                raise mapped(str(error)) from error
