"""What waits to be sent to one client: frames in order, or, for one that is slow, the newest state of each channel."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crypto_pipeline.api.stream.channel import Channel
from crypto_pipeline.api.stream.frames import Changed, RowsKind, encoded
from crypto_pipeline.api.stream.spans import Span, joined

#: Frames that may wait for one client, their size in characters, and seconds for which one may wait. A client with more
#: is sent the newest state.
_MOST_WAITING, _MOST_SIZE, _LONGEST_WAIT = 512, 1 << 20, 2.0


@dataclass(slots=True)
class _Newest:
    """The newest state of a channel is to be sent, and then what changed of its past."""

    kind: RowsKind
    spans: list[Span] = field(default_factory=list)


class _Waiting(NamedTuple):
    """A frame that waits: since when, of which channel (None: of the connection), and what of the past it names."""

    since: float
    channel: str | None
    text: str
    spans: Sequence[Span]


class StreamClient:
    """One client. Frames are shared with the channels: what waits costs a reference each."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._newest: dict[str, _Newest] = {}
        self._some = asyncio.Event()

    def offer(self, text: str, channel: str | None = None, spans: Sequence[Span] = ()) -> None:
        """A frame, of a channel or for the connection; ``spans``: what it says of the past. Never waits."""
        if channel is not None and (newest := self._newest.get(channel)) is not None:
            newest.spans = joined([*newest.spans, *spans])
            return
        now = time.monotonic()
        self._waiting.append(_Waiting(now, channel, text, spans))
        self._size += len(text)
        too_long = now - self._waiting[0].since > _LONGEST_WAIT
        if too_long or len(self._waiting) > _MOST_WAITING or self._size > _MOST_SIZE:
            self._fall_behind()
        self._some.set()

    def offer_newest(self, channel: str) -> None:
        """A snapshot of a channel, encoded when it is sent; what came of the channel before is void."""
        self._keep(lambda each: each.channel != channel)
        self._newest[channel] = _Newest("snapshot")
        self._some.set()

    def _fall_behind(self) -> None:
        """Drop what waits: of every channel of which something waited the newest state comes instead."""
        for each in self._waiting:
            if each.channel is not None:
                newest = self._newest.setdefault(each.channel, _Newest("conflated"))
                newest.spans = joined([*newest.spans, *each.spans])
        self._keep(lambda each: each.channel is None)

    def forget(self, channel: str) -> None:
        """Nothing more of a channel is sent."""
        self.channels.pop(channel, None)
        self._newest.pop(channel, None)
        self._keep(lambda each: each.channel != channel)

    def _keep(self, stays: Callable[[_Waiting], bool]) -> None:
        self._waiting = deque(each for each in self._waiting if stays(each))
        self._size = sum(len(each.text) for each in self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting and not self._newest

    async def next(self) -> str:
        """The next frame to send; waits until there is one."""
        while self.idle:
            self._some.clear()
            await self._some.wait()
        if self._waiting:
            text = self._waiting.popleft().text
            self._size -= len(text)
            return text
        name = next(iter(self._newest))
        newest, channel = self._newest.pop(name), self.channels[name]
        if newest.spans:
            self.offer(encoded(Changed(name, channel.seq, newest.spans)), name, newest.spans)
        return channel.newest(newest.kind)
