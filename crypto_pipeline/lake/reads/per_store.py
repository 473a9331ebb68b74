"""One reader for each store of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from crypto_pipeline.store import Store

T = TypeVar("T")


class PerStore(Generic[T]):
    """What ``make`` gives for a store, made at its first use and forgotten with the store. Thread-safe."""

    def __init__(self, make: Callable[[Store], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Store, T] = WeakKeyDictionary()

    def of(self, store: Store) -> T:
        """The one of a store."""
        found = self._made.get(store)
        if found is None:
            found = self._made.setdefault(store, self._make(store))
        return found
