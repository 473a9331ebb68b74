"""``LiveStream``: follows channels of a server over a websocket, through breaks and restarts."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from crypto_pipeline.market.times import EPOCH, from_unix_ms
from crypto_pipeline.reading.stream.update import StreamUpdate, update_of
from crypto_pipeline.store.database.errors import StoreError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

#: Seconds without any frame after which a connection counts as broken; the server says something every 5 s.
SILENCE = 15.0
#: Seconds between attempts to connect: the first and the longest pause.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
#: Bytes of the longest frame that is taken.
_LONGEST = 64 << 20
#: Answers to an attempt that another attempt would get too.
_FINAL = frozenset({400, 401, 403, 404, 405})


@dataclass(slots=True)
class _Followed:
    """Where a channel is: number of its last frame, and the epoch in which it counts."""

    epoch: str | None = None
    seq: int | None = None


class LiveStream:
    """Updates of channels, as an async iterator. It reads nothing before it is iterated.

    >>> async with crypto_pipeline.stream("prices", "bars/BTC-USDT/1m") as updates:  # doctest: +SKIP
    ...     async for update in updates:
    ...         print(update.channel, update.kind, update.frame())

    Each channel begins with a ``snapshot``. After a break it goes on without loss where the server still has what was
    missed; otherwise another ``snapshot`` comes, for bars with a ``changed`` for everything before. A reader that takes
    its updates too slowly gets the newest state instead of the steps between.

    The first attempt to connect raises StoreError where nothing answers; later ones are repeated for ever. A server
    that refuses (wrong token, unknown channel) raises StoreError at any time.
    """

    def __init__(self, channels: Iterable[str], url: str, token: str | None = None) -> None:
        """``url``: of the server, as http, https, ws or wss. ``token``: of its settings, if it has one."""
        self._channels = {name: _Followed() for name in channels}
        if not self._channels:
            raise ValueError("channels: name at least one, such as prices or bars/BTC-USDT/1m")
        self._url, self._token = _websocket_url(url), token
        self._epoch: str | None = None
        self._ahead: timedelta | None = None
        self._updates: AsyncGenerator[StreamUpdate, None] | None = None
        #: Whether the server hears its database: ok, away, or unknown before the first heartbeat.
        self.database = "unknown"

    def __repr__(self) -> str:
        return f"LiveStream({', '.join(self._channels)} of {self._url})"

    def market_time(self) -> datetime | None:
        """The market's time now, UTC, as the server told it and our clock counts on; None before the first frame."""
        return None if self._ahead is None else from_unix_ms(_now_ms()) + self._ahead

    def __aiter__(self) -> AsyncIterator[StreamUpdate]:
        if self._updates is None:
            self._updates = self._follow()
        return self._updates

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the iteration ends."""
        if self._updates is not None:
            await self._updates.aclose()

    # -- the connection -------------------------------------------------------------------------------------------

    async def _follow(self) -> AsyncGenerator[StreamUpdate, None]:
        from websockets.exceptions import ConnectionClosed

        reached, pauses = False, _pauses()
        while True:
            try:
                async with await self._connect() as connection:
                    reached, pauses = True, _pauses()
                    async with aclosing(self._read(connection)) as updates:
                        async for update in updates:
                            yield update
            except (OSError, TimeoutError, ConnectionClosed) as error:
                if not reached:
                    raise StoreError(f"no stream answers at {self._url}: {error or 'it was silent'}") from error
            await asyncio.sleep(next(pauses))

    async def _connect(self) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            return await connect(self._url, additional_headers=headers, compression=None, max_size=_LONGEST)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _FINAL:
                raise StoreError(f"{self._url} refuses: {status}, {_detail(error.response.body)}") from error
            raise OSError(f"it answers {status}, {_detail(error.response.body)}") from error
        except InvalidHandshake as error:
            raise OSError(str(error)) from error

    async def _read(self, connection: ClientConnection) -> AsyncGenerator[StreamUpdate, None]:
        while True:
            async with asyncio.timeout(SILENCE):
                text = await connection.recv()
            message = json.loads(text)
            match message["type"]:
                case "hello":
                    self._epoch = message["epoch"]
                    self._clock(message)
                    await connection.send(json.dumps({"op": "subscribe", "channels": self._wanted()}))
                case "heartbeat":
                    self.database = message["database"]
                    self._clock(message)
                case "error":
                    raise StoreError(f"{self._url} refuses: {message['detail']}")
                case "resumed":
                    pass
                case _:
                    for update in self._taken(message):
                        yield update

    def _wanted(self) -> list[dict[str, Any]]:
        return [
            {"channel": name} | ({} if one.seq is None else {"epoch": one.epoch, "after": one.seq})
            for name, one in self._channels.items()
        ]

    def _taken(self, message: Mapping[str, Any]) -> Iterator[StreamUpdate]:
        one = self._channels[message["channel"]]
        before, one.epoch, one.seq = one.seq, self._epoch, message["seq"]
        update = update_of(message)
        yield update
        if message["type"] == "snapshot" and before is not None and update.channel.startswith("bars/"):
            # what was missed may lie before these bars
            first = from_unix_ms(update.rows[0]["open_time"]) if update.rows else from_unix_ms(_now_ms())
            yield StreamUpdate(update.channel, "changed", (), [(EPOCH, first)], update.seq)

    def _clock(self, message: Mapping[str, Any]) -> None:
        self._ahead = timedelta(milliseconds=message["market_time"] - _now_ms())


def _websocket_url(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.netloc:
        raise ValueError(f"url: {url!r} is no address of a server: give one such as http://127.0.0.1:8790")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/stream") else f"{path}/stream"
    return urlunsplit((schemes[parts.scheme], parts.netloc, path, "", ""))


def _pauses() -> Iterator[float]:
    """Growing pauses, different for each client."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _detail(body: bytes | bytearray | None) -> str:
    """What a problem of the server says."""
    try:
        return str(json.loads(body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return "without a reason"


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000
