"""One stream connection of the venue: its subscriptions, its queued frames, its limits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from itertools import count

from aiohttp import web

from crypto_pipeline.replay.wire.frames import FrameBatch, ping_frame, text_frame

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class StreamRules:
    """The venue's limits on streams, in real seconds, whatever the clock's speed.

    Attributes:
        ping_seconds: Time between two pings of the venue.
        pong_seconds: A connection without a pong for so long is closed.
        lifetime_seconds: A connection is closed at this age.
        max_streams: Streams of one connection.
        messages_per_second: Messages that a client may send.
        max_buffer: Bytes that wait for a slow client before it is cut off.
        connects: Connections that one address may open within ``connects_seconds``.
        connects_seconds: See ``connects``.
    """

    ping_seconds: float = 20.0
    pong_seconds: float = 60.0
    lifetime_seconds: float = 86_400.0
    max_streams: int = 1024
    messages_per_second: int = 5
    max_buffer: int = 64 << 20
    connects: int = 300
    connects_seconds: float = 300.0


class Subscriber:
    """A client's connection. It writes complete frames directly to the transport: all connections share the frames."""

    def __init__(self, transport: asyncio.Transport, rules: StreamRules, *, combined: bool, address: str = "") -> None:
        self.number = next(_NUMBERS)
        self.transport, self.rules, self.combined, self.address = transport, rules, combined, address
        self.streams: dict[str, None] = {}
        self.symbols: set[str] = set()
        self.opened = time.monotonic()
        #: Time (monotonic) until which nothing is sent while the connection stays open.
        self.frozen_until = 0.0
        self.mute_until: dict[str, float] = {}
        #: Whether the send buffer was made small, for a fault that measures it.
        self.shrunk = False
        #: Set when the venue cuts the connection.
        self.dropped = asyncio.Event()
        self._owed: list[bytes] = []
        self._next_ping = self.opened + rules.ping_seconds
        self._pings: dict[bytes, float] = {}
        self._incoming: deque[float] = deque(maxlen=rules.messages_per_second)

    # Outgoing -----------------------------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the connection is closed for sending."""
        return self.dropped.is_set() or self.transport.is_closing()

    @property
    def buffered(self) -> int:
        """Bytes that the client has not received yet."""
        return self.transport.get_write_buffer_size()

    def take(self, batch: FrameBatch) -> None:
        """Queue the messages of a batch."""
        self._owed.append(batch.joined(self.combined))

    def take_frame(self, frame: bytes) -> None:
        """Queue one frame."""
        self._owed.append(frame)

    def say(self, body: str) -> None:
        """Queue one message outside of any stream."""
        self._owed.append(text_frame(body.encode()))

    def is_mute(self, symbol: str, now: float) -> bool:
        """Whether a fault silences the symbol."""
        return now < self.mute_until.get(symbol, 0.0)

    def flush(self, now: float) -> None:
        """Send the queued frames. A client that does not read is cut before memory grows."""
        owed, self._owed = self._owed, []
        if not owed or self.gone or now < self.frozen_until:
            return
        self.transport.write(b"".join(owed) if len(owed) > 1 else owed[0])
        if self.buffered > self.rules.max_buffer:
            self.cut()

    def cut(self) -> None:
        """End the connection without a close frame, like a broken network."""
        self.dropped.set()
        self.transport.abort()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, then close."""
        if not self.gone:
            self.transport.write(b"".join(self._owed) + close_frame(code, reason))
            self._owed = []
        self.dropped.set()
        self.transport.close()

    # Pings and limits ---------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Send a ping when it is due; end a connection that does not answer or is too old."""
        if self.gone or now < self.frozen_until:
            return
        if now - self.opened >= self.rules.lifetime_seconds:
            self.close(1001, "connection lifetime is over")
        elif self._pings and now - next(iter(self._pings.values())) >= self.rules.pong_seconds:
            self.cut()
        elif now >= self._next_ping:
            self._next_ping = now + self.rules.ping_seconds
            payload = str(time.time_ns() // 1_000_000).encode()
            self._pings[payload] = now
            self.transport.write(ping_frame(payload))

    def ponged(self, payload: bytes) -> None:
        """Take a pong: it answers its ping and earlier ones. A pong without a ping is ignored."""
        if payload in self._pings:
            for older in list(self._pings):
                del self._pings[older]
                if older == payload:
                    break

    def heard(self, now: float) -> bool:
        """Count a message from the client; False if messages come too fast."""
        full = len(self._incoming) == self.rules.messages_per_second
        too_fast = full and now - self._incoming[0] < 1.0
        self._incoming.append(now)
        return not too_fast

    def listen(self, stream: str) -> bool:
        """Add a stream; False if that exceeds the limit."""
        if stream not in self.streams and len(self.streams) >= self.rules.max_streams:
            return False
        self.streams[stream] = None
        self._name_symbols()
        return True

    def leave(self, stream: str) -> None:
        """Remove a stream."""
        self.streams.pop(stream, None)
        self._name_symbols()

    def _name_symbols(self) -> None:
        self.symbols = {stream.partition("@")[0].upper() for stream in self.streams}


def close_frame(code: int, reason: str) -> bytes:
    """A close frame with its code and at most 123 bytes of reason."""
    payload = code.to_bytes(2, "big") + reason.encode()[:123]
    return bytes((0x88, len(payload))) + payload


def transport_of(request: web.Request) -> asyncio.Transport:
    """The transport of a request. Raises HTTPBadRequest if the connection is closed."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise web.HTTPBadRequest(text="the connection is gone")
    return transport
