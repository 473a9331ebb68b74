"""Live trading: right after the predictions of the bars that just closed, in the process that computes them."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from crypto_pipeline.features.stored.live import LiveStep
from crypto_pipeline.ingest import MinuteDone, OnMinute
from crypto_pipeline.models.stored.live import after_minute_with_predictions
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import LeaseLost, Store
from crypto_pipeline.store.operations.job_metrics import JobMetrics
from crypto_pipeline.trading.stored.scans import ScanPass, ScanReport
from crypto_pipeline.trading.stored.trading_pass import trading_pass

log = logging.getLogger(__name__)
JOB, TRADING_JOB = "live_scans", "live_trading"


class LiveScans:
    """Scans and trades bars as they close, and at its first call those that closed while nobody did."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._scans = settings, ScanPass(settings)
        #: what it does, or did last: the name of its job
        self.job = JOB

    def after_predictions(self, store: Store, now: datetime) -> ScanReport:
        """Scan what has closed by ``now``, then decide and book it: short queries where nothing has.

        Raises StoreError.
        """
        self.job, began, started = JOB, time.monotonic(), datetime.now(UTC)
        report = self._scans.run(store, now)
        if report.start is not None:
            store.metrics.record(JobMetrics(JOB, started, time.monotonic() - began, rows=report.scans))
        self.job, began, started = TRADING_JOB, time.monotonic(), datetime.now(UTC)
        traded = trading_pass(store, self._settings)
        if traded.moments:
            rows = traded.signals + traded.fills
            store.metrics.record(JobMetrics(TRADING_JOB, started, time.monotonic() - began, rows=rows))
        return report


def after_minute_with_trading(settings: Settings) -> OnMinute:
    """A callback for ingest after each minute: bars, features, predictions, then scans of the bars that have closed,
    then trades.

    What fails here is logged and keeps nothing else from running; the bars are scanned with the next minute.
    """
    live = LiveScans(settings)

    def trade(done: MinuteDone, step: LiveStep) -> None:
        try:
            live.after_predictions(done.store, done.now)
        except LeaseLost:
            raise
        except Exception as error:
            log.exception("%s at %s", live.job, done.now)
            failed = JobMetrics(
                live.job, datetime.now(UTC), 0.0, succeeded=False, status=f"{type(error).__name__}: {error}"[:500]
            )
            done.store.metrics.record(failed)

    return after_minute_with_predictions(settings, trade)
