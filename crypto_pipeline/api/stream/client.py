"""What waits to be sent to one client: frames in order, or, for one that is slow, the newest state of each channel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from crypto_pipeline.api.stream.channel import Channel
from crypto_pipeline.api.stream.frames import Changed, encoded
from crypto_pipeline.api.stream.spans import Span, joined

#: Frames that may wait for one client, and their size in characters; a client with more is sent the newest state.
_MOST_WAITING, _MOST_SIZE = 512, 1 << 20


class StreamClient:
    """One client. Frames are shared with the channels: what waits costs a reference each."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self._waiting: deque[tuple[str | None, str]] = deque()
        self._size = 0
        #: Channels of which the newest state is sent instead of what waited, and what changed of their past.
        self._behind: dict[str, list[Span]] = {}
        self._some = asyncio.Event()
        #: How often frames were replaced by the newest state.
        self.conflations = 0

    def offer(self, text: str, channel: str | None = None, spans: Iterable[Span] = ()) -> None:
        """A frame, of a channel or for the connection; ``spans``: what it says of the past. Never waits."""
        if channel is not None and channel in self._behind:
            self._behind[channel] = joined([*self._behind[channel], *spans])
            return
        self._waiting.append((channel, text))
        self._size += len(text)
        if len(self._waiting) > _MOST_WAITING or self._size > _MOST_SIZE:
            self._fall_behind()
        self._some.set()

    def _fall_behind(self) -> None:
        """Drop what waits: of every channel of which something waited the newest state comes instead."""
        self.conflations += 1
        for channel, _ in self._waiting:
            if channel is not None and channel in self.channels:
                self._behind.setdefault(channel, [])
        self._waiting.clear()
        self._size = 0

    def forget(self, channel: str) -> None:
        """Nothing more of a channel is sent."""
        self.channels.pop(channel, None)
        self._behind.pop(channel, None)
        self._waiting = deque(each for each in self._waiting if each[0] != channel)
        self._size = sum(len(text) for _, text in self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting and not self._behind

    async def next(self) -> str:
        """The next frame to send; waits until there is one."""
        while self.idle:
            self._some.clear()
            await self._some.wait()
        if self._waiting:
            _, text = self._waiting.popleft()
            self._size -= len(text)
            return text
        name, spans = next(iter(self._behind.items()))
        channel = self.channels[name]
        del self._behind[name]
        if spans:
            self.offer(encoded(Changed(name, channel.seq, spans)), name)
        return channel.newest("conflated")
