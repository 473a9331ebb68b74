"""The loop that publishes a forecast at every close of a bar, and anchors forecasts anew by priority.

It is a thread of the program that serves reads over HTTP: what it refreshes is what that program answers with, and a
program of its own would cost a hundred megabytes for a few milliseconds of work a minute. Where nothing is served it
is a program of its own (``crypto_pipeline.forecasts.stored.program``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import psycopg

from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, REFRESH_SECONDS, ForecastHorizon
from crypto_pipeline.forecasts.stored.anchors import anchored
from crypto_pipeline.forecasts.stored.cache import ForecastCache
from crypto_pipeline.forecasts.stored.fit_process import fit_apart
from crypto_pipeline.forecasts.stored.inputs import closed
from crypto_pipeline.forecasts.stored.publish import publish_due
from crypto_pipeline.forecasts.stored.update import OLDEST_FIT
from crypto_pipeline.market.instruments import Refresh, refresh_class
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.coordination.heartbeats import Heartbeats
from crypto_pipeline.store.research.forecasts import FitRow

log = logging.getLogger(__name__)

#: Name of its heartbeat.
NAME = "forecasts"
#: Seconds between two looks at the clock, and between two heartbeats.
EVERY, _BEAT_EVERY = 5.0, 60.0
#: A bar is looked for this long after its close, every look at first, then once a minute.
_SETTLED, _EAGER, _PATIENT = timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=15)
#: Instruments without a fit are looked for so often, seconds; one whose fit failed is fitted again after so many.
_LACK_EVERY, _FIT_AGAIN = 60.0, 3_600.0

#: Fits instruments to the bars that had closed at a moment.
Fit: TypeAlias = Callable[[Store, ForecastHorizon, Sequence[str], datetime], None]


class ForecastLoop:
    """``tick`` does what is due; ``run`` does it until it is stopped. A repeated tick changes nothing stored."""

    def __init__(self, store: Store, cache: ForecastCache | None = None, fit: Fit = fit_apart) -> None:
        self._store, self._cache, self._fit = store, cache, fit
        self._holder = str(os.getpid())
        self._fits: list[FitRow] = []
        self._fits_version = -1
        self._boundary: dict[ForecastHorizon, datetime] = {}
        self._waiting: dict[ForecastHorizon, set[str]] = {}
        self._looked: dict[ForecastHorizon, datetime] = {}
        self._refreshed: dict[Refresh, float] = {}
        self._fitted_at: dict[tuple[str, ForecastHorizon], float] = {}
        self._beaten, self._lacked = 0.0, -_LACK_EVERY
        self.published = 0

    def run(self, stop: threading.Event) -> None:
        """Tick every 5 s until ``stop`` is set; an outage of the database is waited for."""
        while not stop.is_set():
            try:
                self.tick()
            except (StoreError, psycopg.Error) as error:
                log.warning("forecasts wait for the database: %s", " ".join(str(error).split()))
            except Exception:  # a fault of one look must not end the loop
                log.exception("this look failed")
            stop.wait(EVERY)

    def tick(self, now: datetime | None = None) -> None:
        """Do what is due at ``now``, by the market's clock."""
        moment = self._store.clock.lately() if now is None else now
        if time.monotonic() - self._lacked >= _LACK_EVERY:
            self._lacked = time.monotonic()
            self._read_fits(moment)
            self._fit_lacking(moment)
        for horizon in ForecastHorizon:
            self._publish(horizon, moment)
        if self._cache is not None:
            self._refresh(self._cache)
        if time.monotonic() - self._beaten >= _BEAT_EVERY or not self._beaten:
            self._beaten = time.monotonic()
            detail = {"published": self.published, "fits": len(self._fits)}
            Heartbeats(self._store.connections).beat(NAME, self._holder, detail)

    def _publish(self, horizon: ForecastHorizon, now: datetime) -> None:
        """Publish what is due of the newest close; a series whose bar is not there yet is looked for again."""
        boundary = closed(horizon, now - _SETTLED)
        if boundary != self._boundary.get(horizon):
            self._read_fits(now)
            self._boundary[horizon] = boundary
            self._waiting[horizon] = {one.series for one in self._fits if one.horizon == horizon}
            self._looked.pop(horizon, None)
        late = now - boundary
        looked = self._looked.get(horizon)
        eager = looked is None or late <= _EAGER or (late <= _PATIENT and now - looked >= _EAGER)
        if not self._waiting[horizon] or not eager:
            return
        self._looked[horizon] = now
        fits = [one for one in self._fits if one.horizon == horizon and one.series in self._waiting[horizon]]
        made = publish_due(self._store, horizon, fits, now)
        self._waiting[horizon] -= {one.series for one in made}
        if made:
            self.published += len(made)
            self._forget({refresh_class(one.series) for one in made})

    def _read_fits(self, now: datetime) -> None:
        """The newest fits, read again where there are newer ones."""
        version = self._store.forecasts.version()
        if version != self._fits_version:
            self._fits = self._store.forecasts.fits([str(each) for each in ForecastHorizon], now - OLDEST_FIT)
            self._fits_version = version

    def _fit_lacking(self, now: datetime) -> None:
        """Have the instruments fitted that have enough bars and no fit: those that are new, or all on the first day."""
        tried = time.monotonic()
        for horizon in ForecastHorizon:
            fitted = {one.series for one in self._fits if one.horizon == horizon}
            if fitted >= self._store.symbols.collected().keys():
                continue
            ready = self._store.forecasts.with_bars(str(horizon.timeframe), LEAST_ORIGINS + horizon.reach)
            last = self._fitted_at
            lacking = [
                name
                for name in ready
                if name not in fitted and tried - last.get((name, horizon), -_FIT_AGAIN) >= _FIT_AGAIN
            ]
            if lacking:
                self._fitted_at |= {(name, horizon): tried for name in lacking}
                self._fit(self._store, horizon, lacking, now)
                self._boundary.pop(horizon, None)  # the newest close is looked at again, for those that have a fit now

    def _forget(self, classes: Iterable[Refresh]) -> None:
        """Let the next refresh of these classes come at once."""
        for each in classes:
            self._refreshed.pop(each, None)

    def _refresh(self, cache: ForecastCache) -> None:
        """Anchor the forecasts of the classes that are due to their last prices."""
        at = time.monotonic()
        due = {each for each in Refresh if at - self._refreshed.get(each, -1e9) >= REFRESH_SECONDS[each]}
        names = {one.series for one in self._fits if refresh_class(one.series) in due} if due else set()
        if names:
            found = anchored(self._store, sorted(names), list(ForecastHorizon))
            cache.put({(name, str(horizon)): one for (name, horizon), one in found.items()})
        self._refreshed |= dict.fromkeys(due, at)
