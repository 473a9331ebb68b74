"""One channel: its rows, its sequence, and the frames that were sent lately, each encoded once."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from crypto_pipeline.api.stream.frames import Changed, RowsKind, encoded, encoded_rows
from crypto_pipeline.api.stream.names import ChannelName
from crypto_pipeline.api.stream.spans import Span

#: Frames that are kept for clients that come back, and their size in characters.
_KEPT_FRAMES, _KEPT_SIZE = 256, 1 << 20


class StreamRow(Protocol):
    """A row of a channel: rows with the same key replace one another, equal rows are no change."""

    @property
    def key(self) -> Hashable:
        """What the row is about."""


@dataclass(frozen=True, slots=True)
class Update:
    """What was read for a channel.

    Attributes:
        channel: The text of its name.
        rows: Rows as they are now.
        whole: ``rows`` are all that there is: others are gone.
        spans: More changed than the rows tell: in these spans.
        state: What the source wants to remember of the channel; None: no change.
    """

    channel: str
    rows: Sequence[StreamRow] = ()
    whole: bool = False
    spans: Sequence[Span] = ()
    state: Any = None


@dataclass
class Channel:
    """The state of a channel. Its sequence is the same for all who follow it."""

    name: ChannelName
    #: The newest rows that are kept (by key, ascending); None: all.
    most: int | None = None
    seq: int = 0
    loaded: bool = False
    rows: dict[Hashable, StreamRow] = field(default_factory=dict)
    #: What its source remembers.
    state: Any = None
    _frames: deque[tuple[int, str, Sequence[Span]]] = field(default_factory=deque)
    _size: int = 0
    _newest: dict[str, tuple[int, str]] = field(default_factory=dict)

    def apply(self, update: Update) -> list[tuple[str, Sequence[Span]]]:
        """Take what was read. The frames that say what changed, encoded, each with the spans that it names.

        The first update makes none.
        """
        changed = [row for row in update.rows if self.rows.get(row.key) != row]
        if update.whole:
            self.rows = {row.key: row for row in update.rows}
        else:
            self.rows.update((row.key, row) for row in changed)
        if self.most is not None and changed:
            self._trim(self.most)
            changed = [row for row in changed if row.key in self.rows]
        if update.state is not None:
            self.state = update.state
        if not self.loaded:
            self.loaded = True
            return []
        frames = []
        if changed:
            self.seq += 1
            frames.append(self._kept(encoded_rows("delta", self.name.text, self.seq, changed)))
        if update.spans:
            self.seq += 1
            frames.append(self._kept(encoded(Changed(self.name.text, self.seq, list(update.spans))), update.spans))
        return frames

    def _trim(self, most: int) -> None:
        keys: list[Any] = list(self.rows)
        if any(later < earlier for earlier, later in pairwise(keys)):
            self.rows = {key: self.rows[key] for key in sorted(keys)}
            keys = list(self.rows)
        for key in keys[: max(0, len(keys) - most)]:
            del self.rows[key]

    def _kept(self, text: str, spans: Sequence[Span] = ()) -> tuple[str, Sequence[Span]]:
        """Keep a frame for clients that come back."""
        self._frames.append((self.seq, text, spans))
        self._size += len(text)
        while len(self._frames) > _KEPT_FRAMES or (self._size > _KEPT_SIZE and len(self._frames) > 1):
            self._size -= len(self._frames.popleft()[1])
        return text, spans

    def newest(self, kind: RowsKind) -> str:
        """All rows as a frame, ``snapshot`` or ``conflated``; encoded once until something changes."""
        kept = self._newest.get(kind)
        if kept is None or kept[0] != self.seq:
            text = encoded_rows(kind, self.name.text, self.seq, self.rows.values())
            kept = self._newest[kind] = self.seq, text
        return kept[1]

    def since(self, after: int) -> Iterable[tuple[str, Sequence[Span]]] | None:
        """The frames after number ``after``; None where they are not kept any more, or that number never was."""
        if after > self.seq or (after < self.seq and (not self._frames or self._frames[0][0] > after + 1)):
            return None
        return [(text, spans) for number, text, spans in self._frames if number > after]
