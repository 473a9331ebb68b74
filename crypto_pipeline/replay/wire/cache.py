"""A memory cache bounded by bytes and by time; the least recently used entry is dropped first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Value = TypeVar("Value")


_caches: WeakSet[BoundedCache[Any]] = WeakSet()


def drop_unused_entries() -> None:
    """Drop what no cache of this process has used for long: an exchange of which nobody asks history needs little."""
    for cache in list(_caches):
        cache.drop_unused()


class BoundedCache(Generic[Value]):
    """Least-recently-used cache of at most ``max_bytes``, by the sizes given to ``put``. Thread-safe.

    An entry that was not used for ``seconds`` is dropped when another one is used or stored, or by
    ``drop_unused_entries``.
    """

    def __init__(self, max_bytes: int, seconds: float = 180.0) -> None:
        self.max_bytes, self.seconds = max_bytes, seconds
        self._used = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Value, int, float]] = OrderedDict()
        _caches.add(self)

    @property
    def used(self) -> int:
        """Bytes used now."""
        return self._used

    def get(self, key: Hashable) -> Value | None:
        """The value under ``key``, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries[key] = entry[0], entry[1], time.monotonic()
            self._entries.move_to_end(key)
            self._drop_unused()
            return entry[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Store ``value`` of ``size`` bytes; the least recently used entries are dropped above the bound."""
        with self._lock:
            old = self._entries.pop(key, None)
            self._used += size - (old[1] if old else 0)
            self._entries[key] = value, size, time.monotonic()
            self._drop_unused()

    def drop_unused(self) -> None:
        """Drop entries that were not used for long."""
        with self._lock:
            self._drop_unused()

    def _drop_unused(self) -> None:
        """Drop entries from the one that was used the longest ago; the newest stays."""
        expired = time.monotonic() - self.seconds
        while len(self._entries) > 1:
            key = next(iter(self._entries))
            _, size, used_at = self._entries[key]
            if self._used <= self.max_bytes and used_at >= expired:
                return
            del self._entries[key]
            self._used -= size

    def get_or_make(self, key: Hashable, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """The cached value, or that of ``make``, which is called outside the lock (two threads may both call it)."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found, size(found))
        return found
