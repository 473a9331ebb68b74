"""Live predictions: right after the features of the bars that just closed, in the process that computes them.

LightGBM is loaded as a library with one thread (see ``booster``), so the process may have been forked.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from crypto_pipeline.features.stored.live import LATE, AfterFeatures, LiveStep, after_minute_with_features
from crypto_pipeline.ingest import MinuteDone, OnMinute
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.models.booster import is_installed
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.predictions import predict_span
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import LeaseLost, Store
from crypto_pipeline.store.operations.job_metrics import JobMetrics

log = logging.getLogger(__name__)
JOB = "live_predictions"


class LivePredictions:
    """Predicts the setups of bars whose features were just stored, and at its first call those of the last two hours.

    Without a champion it costs one short query per closed bar.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._champions = Champions()
        self._begun = False

    def after_features(self, store: Store, now: datetime, step: LiveStep) -> int:
        """Predict after one step of live features; returns how many predictions were stored. Raises StoreError."""
        if self._begun and not step.opened:
            return 0
        until = TIMEFRAME.floor(now)
        first = min(step.opened, default=until) if self._begun else until - LATE
        if not self._champions.ids(store):
            self._begun = True
            return 0
        began, started = time.monotonic(), datetime.now(UTC)
        newest = until - TIMEFRAME.delta
        made = predict_span(store, self._settings, self._champions, first, until, now=now, live_from=newest)
        self._begun = True
        store.metrics.record(JobMetrics(JOB, started, time.monotonic() - began, rows=len(made)))
        return len(made)


def after_minute_with_predictions(settings: Settings, then: AfterFeatures | None = None) -> OnMinute:
    """A callback for ingest after each minute: bars, then features of closed bars, then predictions of their setups.

    What fails here is logged and keeps nothing else from running; the setups are predicted with the next bar. ``then``
    is called after the predictions.
    """
    if not is_installed():
        return after_minute_with_features(settings, then)
    live = LivePredictions(settings)

    def predict(done: MinuteDone, step: LiveStep) -> None:
        _predict(done, step)
        if then is not None:
            then(done, step)

    def _predict(done: MinuteDone, step: LiveStep) -> None:
        try:
            live.after_features(done.store, done.now, step)
        except LeaseLost:
            raise
        except Exception as error:
            log.exception("live predictions at %s", done.now)
            failed = JobMetrics(
                JOB, datetime.now(UTC), 0.0, succeeded=False, status=f"{type(error).__name__}: {error}"[:500]
            )
            done.store.metrics.record(failed)

    return after_minute_with_features(settings, predict)
