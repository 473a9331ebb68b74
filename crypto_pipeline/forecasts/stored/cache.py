"""Answers to questions for forecasts, kept in memory: each is computed once at a time, and states its age."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from crypto_pipeline.forecasts.answer import ForecastAnswer, answer, lifetime
from crypto_pipeline.forecasts.stored.anchors import Anchored
from crypto_pipeline.forecasts.stored.reading import asked_for, read_anchored
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import DatabaseAwayError

Key: TypeAlias = tuple[str, str]
#: Seconds within which an answer that is not fresh is not computed again: its price would be the same.
_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    value: Anchored
    #: By the monotonic clock.
    computed: float


class ForecastCache:
    """The newest forecasts of a deployment. Thread-safe.

    A question is answered from memory while the answer is fresh; else one caller computes it, and others with the same
    question wait for that. While the database is away an answer is given as stale, and refused after three times its
    time to live.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[Key, _Kept] = {}
        self._flights: dict[Key, Future[_Kept]] = {}
        self._lock = threading.Lock()

    def put(self, found: Mapping[Key, Anchored]) -> None:
        """Keep what was computed elsewhere just now."""
        computed = time.monotonic()
        self._kept.update({key: _Kept(value, computed) for key, value in found.items()})

    def get(self, symbol: str, horizon: str = "1h") -> ForecastAnswer:
        """The forecast of an instrument; otherwise as ``read_forecast``."""
        key = (symbol, horizon)
        kept = self._kept.get(key)
        if kept is None:
            key = asked_for(self._store, symbol, horizon)
            kept = self._kept.get(key)
        if kept is None or not self._fresh(kept):
            kept = self._computed(key, kept)
        return answer(kept.value.forecast, kept.value.as_of, self._store.clock.reckoned())

    def _fresh(self, kept: _Kept) -> bool:
        """Whether the answer may be given without a look at the database."""
        if time.monotonic() - kept.computed < _PAUSE:
            return True
        age = (self._store.clock.reckoned() - kept.value.as_of).total_seconds()
        return age <= lifetime(kept.value.forecast.series)[0]

    def _computed(self, key: Key, before: _Kept | None) -> _Kept:
        """The answer from the database, by one caller at a time; the one ``before`` while the database is away."""
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not mine:
            return flight.result()
        try:
            try:
                made = _Kept(read_anchored(self._store, *key), time.monotonic())
            except DatabaseAwayError:
                if before is None:
                    raise
                made = before
            self._kept[key] = made
            flight.set_result(made)
            return made
        except BaseException as error:
            # an interrupt of this thread is none of those that wait for its answer
            flight.set_exception(error if isinstance(error, Exception) else DatabaseAwayError("interrupted: ask again"))
            raise
        finally:
            with self._lock:
                del self._flights[key]
