"""The hub: channels that somebody follows, kept up to date by their sources, and offered to all who follow them.

Everything here runs in the event loop; only reading is done in threads. A client that does not take its frames costs
the hub nothing: offering never waits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.client import StreamClient
from crypto_pipeline.api.stream.frames import HeartbeatFrame, Hello, Resumed, encoded
from crypto_pipeline.api.stream.names import ChannelName
from crypto_pipeline.api.stream.sources.source import ChannelSource
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.cache import HEARING
from crypto_pipeline.store import StoreError

log = logging.getLogger(__name__)

#: Version of the protocol.
PROTOCOL = 1
#: Seconds between heartbeats.
HEARTBEAT = 5.0
#: Seconds for which a channel that nobody follows any more is kept, so that a client that comes back goes on.
_KEPT = 60.0
#: Seconds until what could not be read is tried again.
_AGAIN = 1.0


class ChannelHub:
    """Channels and who follows them. ``start`` it in the event loop, and ``close`` it."""

    def __init__(self, reader: Reader, sources: Sequence[ChannelSource]) -> None:
        self._reader, self._sources = reader, sources
        self._of_kind = {kind: source for source in sources for kind in source.kinds}
        #: Of this process: a sequence goes on only within it.
        self.epoch = secrets.token_hex(8)
        self.channels: dict[str, Channel] = {}
        self.clients: set[StreamClient] = set()
        #: Connections, those included that were not greeted yet.
        self.sessions = 0
        self._followers: dict[str, dict[StreamClient, None]] = {}
        self._left: dict[str, float] = {}
        #: Where the sequence of a channel goes on that was dropped.
        self._ended: dict[str, int] = {}
        self._wakes = {source: asyncio.Event() for source in sources}
        self._tasks: list[asyncio.Task[None]] = []
        self._limiter = CapacityLimiter(max(1, len(sources)))

    def start(self) -> None:
        """Begin to follow notifications; no effect if it did."""
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        for source in self._sources:
            wake = self._wakes[source]
            source.wake = lambda wake=wake: _wake(loop, wake)  # type: ignore[misc]
            for notice in source.notices:
                self._reader.cached.pass_on(notice, source.told)
            self._tasks.append(loop.create_task(self._follow(source, wake), name=f"stream {source.kinds[0]}"))
        self._tasks.append(loop.create_task(self._beat(), name="stream heartbeat"))

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- clients --------------------------------------------------------------------------------------------------

    async def hello(self) -> str:
        """The first frame of a connection."""
        try:
            now = await run_sync(self._reader.store.clock.reckoned, limiter=self._limiter)
        except StoreError:
            now = datetime.now(UTC)
        return encoded(Hello(PROTOCOL, self.epoch, _now(), unix_ms(now)))

    async def subscribe(self, client: StreamClient, text: str, epoch: str | None, after: int | None) -> None:
        """Follow a channel: first what came ``after``, or a snapshot. ValueError or StoreError for an unknown one."""
        name = ChannelName.parse(text)
        if name.instrument is not None and name.text not in self.channels:
            await run_sync(self._reader.store.symbols.ids, [name.instrument], limiter=self._limiter)
        if client not in self.clients:
            return  # it went meanwhile
        channel = self.channels.get(text)
        if channel is None:
            channel = self.channels[text] = Channel(name, self._of_kind[name.kind].most(name.kind))
            channel.seq = self._ended.pop(text, 0)
        self._left.pop(text, None)
        self._followers.setdefault(text, {})[client] = None
        client.channels[text] = channel
        if not channel.loaded:
            self._wakes[self._of_kind[name.kind]].set()
            return
        missed = channel.since(after) if epoch == self.epoch and after is not None else None
        if missed is None:
            client.offer_newest(text)
            return
        client.offer(encoded(Resumed(text, after or 0)), text)
        for frame, spans in missed:
            client.offer(frame, text, spans)

    def unsubscribe(self, client: StreamClient, text: str) -> None:
        """Follow a channel no longer."""
        client.forget(text)
        followers = self._followers.get(text)
        if followers is not None and followers.pop(client, True) is None and not followers:
            self._left[text] = time.monotonic()

    def enter(self, client: StreamClient) -> None:
        """A client came."""
        self.start()
        self.clients.add(client)

    def leave(self, client: StreamClient) -> None:
        """A client went."""
        self.clients.discard(client)
        for text in list(client.channels):
            self.unsubscribe(client, text)

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def _follow(self, source: ChannelSource, wake: asyncio.Event) -> None:
        """Read what a source was told of, again and again."""
        while True:
            await wake.wait()
            wake.clear()
            payloads = source.take()
            channels = [each for each in self.channels.values() if each.name.kind in source.kinds]
            if not channels or (not payloads and all(each.loaded for each in channels)):
                continue
            try:
                updates = await run_sync(_read, source, channels, payloads, limiter=self._limiter)
            except Exception as error:
                if not isinstance(error, StoreError):
                    log.exception("reading for %s failed", source.kinds)
                source.put_back(payloads)
                await asyncio.sleep(_AGAIN)
                wake.set()
                continue
            for update in updates:
                self._publish(update)
            await asyncio.sleep(source.pause)

    def _publish(self, update: Update) -> None:
        channel = self.channels.get(update.channel)
        if channel is None:
            return
        first = not channel.loaded
        frames = channel.apply(update)
        for client in self._followers.get(update.channel, ()):
            if first:
                client.offer_newest(update.channel)
            for text, spans in frames:
                client.offer(text, update.channel, spans)

    async def _beat(self) -> None:
        """Say that the connection lives, and what the market's time is; drop channels that nobody follows."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            hears = time.monotonic() - self._reader.cached.heard_everything_until() < HEARING
            try:
                clock = self._reader.store.clock
                moment = await run_sync(clock.lately if hears else clock.reckoned, limiter=self._limiter)
            except StoreError:
                hears, moment = False, datetime.now(UTC)
            text = encoded(HeartbeatFrame(_now(), unix_ms(moment), "ok" if hears else "away"))
            for client in self.clients:
                if client.idle:
                    client.offer(text)
            self._drop_left()

    def _drop_left(self) -> None:
        for text, since in list(self._left.items()):
            if time.monotonic() - since > _KEPT:
                del self._left[text]
                self._followers.pop(text, None)
                # one more, so that no number of before can be taken up again
                self._ended[text] = self.channels.pop(text).seq + 1


def _read(source: ChannelSource, channels: list[Channel], payloads: set[str | None]) -> list[Update]:
    return list(source.read(channels, payloads))


def _wake(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(wake.set)


def _now() -> int:
    return time.time_ns() // 1_000_000
