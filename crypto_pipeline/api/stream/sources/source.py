"""What reads for channels: it collects what notifications name, and is asked for it in a thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from crypto_pipeline.api.stream.channel import Channel, Update

#: Payloads that are collected one by one; more of them mean everything.
_MOST_PAYLOADS = 10_000


class ChannelSource(ABC):
    """Reads what changed of some kinds of channels.

    Attributes:
        kinds: First parts of the names of its channels.
        notices: Channels of PostgreSQL that tell of changes.
        pause: Seconds between two reads, at least.
    """

    kinds: tuple[str, ...]
    notices: tuple[str, ...]
    pause: float = 0.05

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payloads: set[str | None] = {None}
        #: Called, in any thread, when there is something to read.
        self.wake: Callable[[], None] = lambda: None

    def told(self, payload: str | None) -> None:
        """A notification came; None: any may have been missed. Called in the listening thread."""
        with self._lock:
            self._payloads.add(payload)
            if len(self._payloads) > _MOST_PAYLOADS:
                self._payloads = {None}
        self.wake()

    def take(self) -> set[str | None]:
        """What was told since the last time."""
        with self._lock:
            taken, self._payloads = self._payloads, set()
        return taken

    def put_back(self, payloads: set[str | None]) -> None:
        """What was taken could not be read."""
        with self._lock:
            self._payloads |= payloads

    def most(self, kind: str) -> int | None:
        """Rows that a channel of ``kind`` keeps; None: all."""
        return None

    @abstractmethod
    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """What ``payloads`` name of ``channels``; of a channel that is not ``loaded`` everything, as ``whole``.

        Runs in a thread. Channels do not change meanwhile. Raises StoreError.
        """


def named(payloads: set[str | None]) -> set[str] | None:
    """The instruments that notifications named, separated by commas; None: any."""
    names: set[str] = set()
    for payload in payloads:
        if not payload:
            return None
        names.update(payload.split(","))
    return names
