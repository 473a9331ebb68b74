"""Parts of a health page or scrape: each is read once for many that ask at the same time, and kept for some seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import psycopg

from crypto_pipeline.store.database.errors import DatabaseAwayError, StoreError

log = logging.getLogger(__name__)

#: Seconds for which nothing is asked of a database that did not answer.
_AWAY_SECONDS = 2.0
#: A value that is so many times older than it may be is no longer given out while the next one is read.
_MOST_AGES = 4
#: Seconds for which a part that is read in the background is waited for, where there is no value to give out.
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PartValue:
    """What reading a part gave.

    Attributes:
        value: None where it could not be read.
        trouble: Why it could not be read; None where it was.
        read_at: When, by time.monotonic.
        seconds: How long reading it took.
    """

    value: Any
    trouble: str | None
    read_at: float
    seconds: float


class AwayMark:
    """Shared by the parts of one database: once it did not answer, the others do not wait for it as well."""

    def __init__(self) -> None:
        self._until = 0.0
        self._trouble = ""

    @property
    def trouble(self) -> str | None:
        """Why the database is not asked now; None where it may be asked."""
        return self._trouble if time.monotonic() < self._until else None

    def set(self, trouble: str) -> None:
        """The database did not answer."""
        self._trouble, self._until = trouble, time.monotonic() + _AWAY_SECONDS


class Part:
    """One part. ``read`` may raise StoreError, psycopg's errors and OSError, which become its trouble. Thread-safe.

    With ``background`` a value that is too old is given out once more while that executor reads the next one.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Any],
        keep_seconds: float,
        away: AwayMark,
        background: Executor | None = None,
    ) -> None:
        self.name = name
        self._read, self._keep, self._away, self._background = read, keep_seconds, away, background
        self._lock = threading.Lock()
        self._last: PartValue | None = None
        self._reading: Future[PartValue] | None = None

    def get(self) -> PartValue:
        """The value, at most as old as it may be, or its trouble."""
        last = self._last
        if last is not None and time.monotonic() - last.read_at < self._keep:
            return last
        return self._read_now() if self._background is None else self._read_beside(self._background, last)

    def _read_now(self) -> PartValue:
        asked = time.monotonic()
        with self._lock:
            last = self._last
            if last is None or last.read_at < asked - self._keep:
                last = self._last = self._try()
            return last

    def _read_beside(self, background: Executor, last: PartValue | None) -> PartValue:
        """The last value while the next one is read; one that is far too old or not there is waited for, shortly."""
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = background.submit(self._store)
            reading = self._reading
        if last is not None and time.monotonic() - last.read_at < _MOST_AGES * self._keep:
            return last
        try:
            return reading.result(_WAIT_SECONDS)
        except TimeoutError:
            return PartValue(None, "is being read: ask again in some seconds", time.monotonic(), _WAIT_SECONDS)

    def _store(self) -> PartValue:
        self._last = last = self._try()
        return last

    def _try(self) -> PartValue:
        began = time.monotonic()
        value: Any = None
        trouble = self._away.trouble
        if trouble is None:
            try:
                value = self._read()
            except DatabaseAwayError as error:
                trouble = str(error)
                self._away.set(trouble)
            except (StoreError, psycopg.Error, OSError) as error:
                trouble = _one_line(error)
                if self._last is None or self._last.trouble != trouble:
                    log.warning("%s cannot be read: %s", self.name, trouble)
        now = time.monotonic()
        return PartValue(value, trouble, now, now - began)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
