"""Signals that stop the supervising process in order."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


class StopRequested(BaseException):
    """A stop was requested during the start; not an error."""


class StopSignals:
    """Handles SIGINT, SIGTERM and SIGHUP within the block: they stop all programs."""

    def __init__(self, handler: Callable[[], None]) -> None:
        self._handler = handler
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, lambda *_: self._handler())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is StopRequested
