"""The websocket client of all venues, on the library websockets: frames become events, silence ends a connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from weakref import WeakSet

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode

from crypto_pipeline.venues.client.frame_parser import Parser
from crypto_pipeline.venues.client.http import USER_AGENT
from crypto_pipeline.venues.client.proxy import HttpProxy, ProxyRefused, proxy_for
from crypto_pipeline.venues.client.responses import same_host, stated_wait
from crypto_pipeline.venues.protocol import shorten
from crypto_pipeline.venues.stream_protocol import Alive, Event, Notice, StreamClosed, StreamRefused

log = logging.getLogger(__name__)

#: Largest accepted frame in bytes. Lists of subscriptions and snapshots of 50 trades, the largest frames, have
#: kilobytes.
MAX_FRAME = 1 << 20
#: Unread frames above which reading from the socket pauses, and at which it resumes.
_QUEUE = (64, 16)
#: Seconds that the venue has to answer a close frame.
_CLOSE_TIMEOUT = 1.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Texts of venues' errors about too many connections.
_TOO_MANY = ("maximum number of", "max_connections", "too many connections")
#: Represents a ping or pong in the queue of messages. A frame with these bytes is also only a sign of life.
_CONTROL = b"\xff\xfe\xfd"
_CONTROL_FRAME = Frame(Opcode.BINARY, _CONTROL)
#: Close codes that we send: protocol error, not text, too large.
_BROKEN = frozenset({1002, 1007, 1009})


class _Socket(ClientConnection):
    """A connection that passes pings and pongs to the reader of its messages, and bounds the wait for its end.

    The library answers pings itself and does not pass them on. After a close frame, of either side, it waits without a
    limit for the other side to close the socket.
    """

    _abort: asyncio.TimerHandle | None = None
    #: Whether a message has begun whose further parts follow: nothing may be inserted between them.
    _in_parts = False

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if self.protocol.parser_exc is not None:  # all further data is unreadable
            self.transport.abort()
        elif self._abort is None and self.protocol.close_expected():
            self._abort = self.loop.call_later(_CLOSE_TIMEOUT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._abort is not None:
            self._abort.cancel()
        super().connection_lost(exc)

    def process_event(self, event: Any) -> None:
        """See ClientConnection."""
        super().process_event(event)
        if type(event) is not Frame:
            return
        if event.opcode is Opcode.PING or event.opcode is Opcode.PONG:
            if not self._in_parts and not self.recv_messages.closed:
                self.recv_messages.put(_CONTROL_FRAME)
        else:
            self._in_parts = not event.fin


class WebSocketConnection:
    """One subscribed socket; see StreamConnection.

    After half of ``silence_limit`` (seconds) without any frame, a ping is sent; after all of it, the connection
    counts as broken. A quiet connection whose venue answers pings stays open.
    """

    def __init__(
        self,
        name: str,
        socket: ClientConnection,
        parser: Parser,
        *,
        silence_limit: float,
        opening: Sequence[Event] = (),
    ) -> None:
        self.name = name
        self.parser = parser
        self._socket = socket
        self._limit = silence_limit
        self._opening = list(opening)
        self._waiting_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._silent = self._closing = False
        self._pinging: asyncio.Task[None] | None = None
        self._refusal = ""

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of received frames, trades, bars and faults, by name."""
        return self.parser.counters

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """One list of events per frame; see StreamConnection.events."""
        loop = asyncio.get_running_loop()
        receive, parse = self._socket.recv, self.parser.parse
        self._start_watch(loop)
        try:
            if self._opening:
                yield self._opening
            while True:
                self._waiting_since = loop.time()
                try:
                    frame = await receive(decode=False)
                except ConnectionClosed as end:
                    if self._closing:
                        return
                    raise self._ended(end) from end
                self._waiting_since = None
                if frame == _CONTROL:
                    yield [Alive()]
                    continue
                events = parse(frame)
                if len(events) == 1 and type(events[0]) is Notice:
                    self._note(events[0])
                yield events
        finally:
            self._waiting_since = None
            await self._shut()

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        self._closing = True
        await self._shut()

    async def _shut(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._pinging is not None:
            self._pinging.cancel()
        await self._socket.close()

    def _note(self, notice: Notice) -> None:
        if notice.kind == "refused" or any(words in notice.text.lower() for words in _TOO_MANY):
            self._refusal = notice.text

    def _ended(self, end: ConnectionClosed) -> StreamClosed | StreamRefused:
        if self._silent:
            return StreamClosed(f"{self.name}: no message for {self._limit:g} s, and no answer to a ping")
        text, said = f"{self.name}: the stream ended", ""
        if end.rcvd is not None:
            text, said = f"{text} with code {end.rcvd.code}", end.rcvd.reason
        elif end.sent is not None and end.sent.code in _BROKEN:
            text, said = f"{text} with code {end.sent.code}", f"broken frame ({end.sent.reason})"
        elif end.__cause__ is not None:
            said = str(end.__cause__)
        text = f"{text}: {said}" if said else text
        if (refused := self.refusal_of(self._refusal)) is not None:
            return refused
        if any(words in f"{said} {self._refusal}".lower() for words in _TOO_MANY):
            return StreamRefused(f"{text} {self._refusal}".strip())
        return StreamClosed(text)

    def refusal_of(self, said: str) -> StreamRefused | None:
        """The venue's error of the status that refused something last (empty: none did); None: it has none."""
        return None

    # Silence is judged only while we wait for the venue, not while the reader of the events is busy: nothing is read
    # then, no pong either, which is why the library's own keepalive is off. One timer in the limit's time, where a
    # timeout around each receive would cost as much as the receive.

    def _start_watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = loop.call_later(self._limit / 4, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        quiet = 0.0 if self._waiting_since is None else loop.time() - self._waiting_since
        if quiet >= self._limit:
            self._silent = True
            self._socket.transport.abort()  # ends the receive at once, without waiting for a close frame
            return
        if quiet >= self._limit / 2 and (self._pinging is None or self._pinging.done()):
            self._pinging = loop.create_task(self._ping())
        self._start_watch(loop)

    async def _ping(self) -> None:
        try:
            await self._socket.ping()
        except ConnectionClosed as end:  # the receive raises the same error
            log.debug("%s: no ping (%s)", self.name, end)


class SocketOpener:
    """Opens the sockets of one venue, for one event loop at a time. ``timeout`` is in seconds.

    The environment may name a proxy (see ``proxy_for``).
    """

    def __init__(self, name: str, *, timeout: float = 15.0) -> None:
        self.name = name
        self.timeout = timeout
        self._open: WeakSet[ClientConnection] = WeakSet()
        self._tls: ssl.SSLContext | None = None

    async def open(self, url: str) -> ClientConnection:
        """Open a connected socket. Raises StreamRefused."""
        try:
            proxy = proxy_for(url)
            options: dict[str, Any] = {"ssl": self._context()} if urlsplit(url).scheme == "wss" else {}
            socket = await _Connect(
                url,
                create_connection=_Socket,
                compression=None,  # unpacking costs more than these small frames save
                user_agent_header=USER_AGENT,
                proxy=None if proxy is None else _with_user(proxy),
                open_timeout=self.timeout,
                close_timeout=_CLOSE_TIMEOUT,
                ping_interval=None,  # WebSocketConnection sends pings while no frames come
                ping_timeout=None,
                max_size=MAX_FRAME,
                max_queue=_QUEUE,
                **options,
            )
        except InvalidStatus as error:
            response = error.response
            wait = stated_wait(response.status_code, _first_values(response.headers))
            text = f"{self.name}: HTTP {response.status_code} {response.reason_phrase}"
            raise StreamRefused(shorten(text), wait) from error
        except TimeoutError as error:
            raise StreamRefused(f"{self.name}: no connection in {self.timeout:g} s") from error
        except (WebSocketException, ProxyRefused, OSError, ValueError) as error:
            raise StreamRefused(
                f"{self.name} at {shorten(url)}: {shorten(str(error)) or type(error).__name__}"
            ) from error
        self._open.add(socket)
        return socket

    async def say(self, socket: ClientConnection, messages: Sequence[object], *, pause: float = 0.0) -> None:
        """Send control messages, ``pause`` seconds apart. Raises StreamRefused when the socket is gone."""
        try:
            for place, message in enumerate(messages):
                if place and pause:
                    await asyncio.sleep(pause)
                await socket.send(msgspec.json.encode(message), text=True)
        except (WebSocketException, OSError) as error:
            await socket.close()
            raise StreamRefused(f"{self.name}: the stream ended while subscribing ({error})") from error
        except BaseException:
            await socket.close()
            raise

    async def close(self) -> None:
        """Close all sockets."""
        for socket in list(self._open):
            socket.transport.abort()
        self._open.clear()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()  # the certificates of this machine
        return self._tls


class _Connect(connect):
    """A handshake that follows redirects only within the requested host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """See ``connect``: the new address, or the exception to raise."""
        if not isinstance(exc, InvalidStatus) or exc.response.status_code not in _REDIRECTS:
            return exc
        location = _first_values(exc.response.headers).get("Location")
        if location is None:
            return exc
        try:
            target = urljoin(self.uri, location)
            if same_host(self.uri, target):
                scheme = {"http": "ws", "https": "wss"}.get(urlsplit(target).scheme, urlsplit(target).scheme)
                return urlsplit(target)._replace(scheme=scheme).geturl()
        except ValueError:
            pass
        return InvalidHandshake(f"it redirects to {shorten(location)!r}, another host than requested: not followed")


def _with_user(proxy: HttpProxy) -> str:
    """The address of a proxy with user name and password, as the library needs it. Never log it."""
    if proxy.auth is None:
        return proxy.url
    scheme, _, place = proxy.url.partition("://")
    return f"{scheme}://{quote(proxy.username, safe='')}:{quote(proxy.password, safe='')}@{place}"


def _first_values(headers: Any) -> dict[str, str]:
    """The first value of each header, by its usual spelling."""
    return {name.title(): value for name, value in reversed(list(headers.raw_items()))}
