"""One websocket client for all venues: pings answered, silence ends the link, every frame goes through a parser."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin

import aiohttp
import msgspec

from crypto_pipeline.market.sanity import MAX_ID, MAX_MS
from crypto_pipeline.venues.client.http import USER_AGENT
from crypto_pipeline.venues.client.responses import same_host, stated_wait
from crypto_pipeline.venues.decoding import UNREADABLE, document, quoted
from crypto_pipeline.venues.protocol import Refused, cut
from crypto_pipeline.venues.stream_protocol import Alive, Event, Notice, StreamClosed, StreamRefused

log = logging.getLogger(__name__)
R = TypeVar("R")

#: Frames of one connection whose fields are all looked at: the first ones, then one in so many.
_ALL_UNTIL, _ONE_IN = 64, 1021
#: The largest frames of what is subscribed to are lists of subscriptions and snapshots of fifty trades: kilobytes.
MAX_FRAME = 1 << 20
_BINARY_OR_TEXT = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
#: Said by venues that allow only so many connections, each in its own words.
_TOO_MANY = ("maximum number of", "max_connections", "too many connections")


@dataclass(frozen=True, slots=True)
class Place:
    """What a row that cannot be used is of, as far as it can be read; ``timeframe`` is empty for a trade."""

    symbol: object
    timeframe: str = ""
    ms: int | None = None
    trade_id: int | None = None
    closed: bool = False
    #: what was said, where the row is a small part of what came
    said: str = ""


class FrameParser:
    """Makes events of frames and counts. A venue fills in ``read``, which raises msgspec.MsgspecError or ValueError for
    what it cannot use."""

    #: Fields of a message by its type, for those types that ``read`` makes events of.
    known_fields: Mapping[str, frozenset[str]] = {}

    def __init__(self, instruments: Sequence[tuple[str, str]]) -> None:
        #: Canonical name by venue symbol.
        self.names = {symbol: name for name, symbol in instruments}
        self.frames = self.trades = self.bars = self.unknown = self.malformed = self.fields = 0
        #: Fields met that nobody here knows, as ``type.field``.
        self.strangers: set[str] = set()
        self._look_at = 1

    @property
    def counters(self) -> dict[str, int]:
        """What came so far."""
        return {name: getattr(self, name) for name in ("frames", "trades", "bars", "unknown", "malformed", "fields")}

    def parse(self, frame: str | bytes) -> list[Event]:
        """The events of one frame, in the venue's order. Never raises for what a venue may send."""
        self.frames += 1
        try:
            events = self.read(frame)
        except UNREADABLE as error:
            return [self._malformed(error, frame)]
        if self.frames >= self._look_at:
            self._look_at += 1 if self.frames < _ALL_UNTIL else _ONE_IN
            try:
                self._look_closer(frame)
            except UNREADABLE as error:
                log.debug("the fields of a frame cannot be looked at: %s", error)
        return events

    def each(self, rows: Iterable[R], read: Callable[[R], list[Event]]) -> list[Event]:
        """The events of the rows of one frame: one that cannot be used is counted and told, the others are taken."""
        events: list[Event] = []
        for row in rows:
            try:
                events += read(row)
            except UNREADABLE as error:
                events.append(self._malformed(error, row))
        return events or [Alive()]

    def _malformed(self, error: BaseException, what: object) -> Notice:
        self.malformed += 1
        why, said = cut(str(error)), quoted(what)
        text = f"malformed ({why}): {said}"
        try:
            place = self._place(what)
        except UNREADABLE:
            place = None
        name = self.names.get(place.symbol) if place is not None and isinstance(place.symbol, str) else None
        if place is None or name is None:
            return Notice("unknown", text)
        ms = place.ms if place.ms is not None and 0 < place.ms < MAX_MS else None
        trade_id = place.trade_id if place.trade_id is not None and 0 <= place.trade_id <= MAX_ID else None
        refused = Refused(ms, why, cut(place.said or said), trade_id)
        return Notice("unknown", text, name, refused, place.timeframe, place.closed)

    def _place(self, what: object) -> Place | None:
        if isinstance(what, str | bytes):
            parts = self.parts(document(what))
            return self.place(*parts[0]) if parts else None
        fields = msgspec.to_builtins(what)
        return self.place("", fields) if isinstance(fields, dict) else None

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """What a message of this type (empty: a row of a frame) speaks of. Raises what UNREADABLE names."""
        return None

    def read(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""
        raise NotImplementedError

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """(type, fields) of the messages in a decoded frame, to look for fields that are new."""
        raise NotImplementedError

    def passed_over(self, what: str) -> list[Event]:
        """Count a frame of a type that nobody here knows."""
        self.unknown += 1
        return [Notice("unknown", what[:300])]

    def _look_closer(self, frame: str | bytes) -> None:
        for kind, fields in self.parts(msgspec.json.decode(frame)):
            known = self.known_fields.get(kind)
            if known is None or fields.keys() <= known:
                continue
            self.fields += 1
            for field in sorted(fields.keys() - known):
                if f"{kind}.{field}" not in self.strangers:
                    self.strangers.add(f"{kind}.{field}")
                    log.info("the stream has a field that is new: %s.%s", kind, field)


class Parser(Protocol):
    """What a connection needs of a parser."""

    @property
    def counters(self) -> dict[str, int]:
        """What came so far."""

    def parse(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""


class WebSocketConnection:
    """One socket that is subscribed; see StreamConnection."""

    def __init__(
        self,
        name: str,
        socket: aiohttp.ClientWebSocketResponse,
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
        self._ending: asyncio.Task[bool] | None = None
        self._refusal = ""

    @property
    def counters(self) -> dict[str, int]:
        """What came so far."""
        return self.parser.counters

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """One list a frame; see StreamConnection.events."""
        loop = asyncio.get_running_loop()
        socket, parse = self._socket, self.parser.parse
        self._arm(loop)
        try:
            if self._opening:
                yield self._opening
            while True:
                self._waiting_since = loop.time()
                message = await socket.receive()
                self._waiting_since = None
                if message.type in _BINARY_OR_TEXT:
                    events = parse(message.data)
                    if len(events) == 1 and type(events[0]) is Notice:
                        self._note(events[0])
                    yield events
                elif message.type is aiohttp.WSMsgType.PING:
                    await self._pong(bytes(message.data))
                    yield [Alive()]
                elif message.type is aiohttp.WSMsgType.PONG:
                    yield [Alive()]
                elif self._closing:
                    return
                else:
                    raise self._ended(message)
        finally:
            self._waiting_since = None
            if self._watch is not None:
                self._watch.cancel()
            await self._shut()

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        self._closing = True
        await self._shut()

    async def _shut(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._socket.close()

    async def _pong(self, payload: bytes) -> None:
        try:
            await self._socket.pong(payload)
        except (aiohttp.ClientError, OSError) as error:  # gone meanwhile: the next receive says so
            log.debug("%s: no pong (%s)", self.name, error)

    def _note(self, notice: Notice) -> None:
        if notice.kind == "refused" or any(words in notice.text.lower() for words in _TOO_MANY):
            self._refusal = notice.text

    def _ended(self, message: aiohttp.WSMessage) -> StreamClosed | StreamRefused:
        if self._silent:
            return StreamClosed(f"{self.name}: nothing came for {self._limit:g} s")
        said = str(message.extra or "") if message.type is aiohttp.WSMsgType.CLOSE else ""
        code = self._socket.close_code
        if message.type is aiohttp.WSMsgType.ERROR:
            said = f"broken frame ({message.data})"
        text = f"{self.name}: the stream ended" + (f" with code {code}" if code else "") + (f": {said}" if said else "")
        if any(words in f"{said} {self._refusal}".lower() for words in _TOO_MANY):
            return StreamRefused(f"{text} {self._refusal}".strip())
        return StreamClosed(text)

    # Silence: judged only while we wait for the venue, not while the reader of the events is busy. One timer in the
    # limit's time, where a timeout around each receive would cost as much as the receive.

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = loop.call_later(self._limit / 4, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting_since
        if waiting is not None and loop.time() - waiting >= self._limit:
            self._silent = True
            self._ending = loop.create_task(self._socket.close())  # wakes the receive at once; no goodbye is awaited
            return
        self._arm(loop)


class SocketOpener:
    """Opens the sockets of one venue, for one event loop at a time."""

    def __init__(self, name: str, *, timeout: float = 15.0) -> None:
        self.name = name
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """A connected socket that leaves pings to us. Raises StreamRefused."""
        session = self._open_session()
        try:
            async with asyncio.timeout(self.timeout):
                return await session.ws_connect(
                    url,
                    autoping=False,
                    max_msg_size=MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except aiohttp.WSServerHandshakeError as error:
            wait = stated_wait(error.status, error.headers or {})
            raise StreamRefused(f"{self.name}: HTTP {error.status} {error.message}", wait) from error
        except TimeoutError as error:
            raise StreamRefused(f"{self.name}: no connection in {self.timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StreamRefused(f"{self.name} at {cut(url)}: {error or type(error).__name__}") from error

    async def say(
        self, socket: aiohttp.ClientWebSocketResponse, messages: Sequence[object], *, pause: float = 0.0
    ) -> None:
        """Send control messages, ``pause`` seconds apart. Raises StreamRefused when the socket is gone."""
        try:
            for place, message in enumerate(messages):
                if place and pause:
                    await asyncio.sleep(pause)
                await socket.send_str(msgspec.json.encode(message).decode())
        except (aiohttp.ClientError, OSError) as error:
            await socket.close()
            raise StreamRefused(f"{self.name}: the stream ended while subscribing ({error})") from error
        except BaseException:
            await socket.close()
            raise

    async def close(self) -> None:
        """Close all sockets."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                middlewares=(_stay_with_host,),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeout),
                headers={"User-Agent": USER_AGENT},
            )
        return self._session


async def _stay_with_host(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A redirect of the handshake leads nowhere but to the host that was asked."""
    response = await handler(request)
    location = response.headers.get("Location")
    if 300 <= response.status < 400 and location is not None:
        here = str(request.url)
        try:
            followed = same_host(here, urljoin(here, location))
        except ValueError:
            followed = False
        if not followed:
            response.close()
            raise aiohttp.ClientError(f"it redirects to {cut(location)!r}, another place than was asked: not followed")
    return response


def fields_of(names: str) -> frozenset[str]:
    """Field names of one text, for ``known_fields``."""
    return frozenset(names.split())
