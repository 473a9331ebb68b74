"""Threads that go on while a test or a bench looks at something else, and end with the block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Self


class Background:
    """Runs functions in threads of their own from the start of a ``with`` block to its end.

    Each function loops until ``stopping`` is set.
    """

    def __init__(self, targets: Iterable[Callable[[], None]]) -> None:
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
