"""What the processors did and how long it took: one row per run in ``ops.job_metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.database.json_values import json_text
from crypto_pipeline.store.database.pool import Connections

_RECORD = """
INSERT INTO ops.job_metrics (job, run_id, started, seconds, rows, succeeded, status, bars_made, gaps_found, gaps_filled,
                             oldest_gap, detail)
VALUES (%(job)s, %(run_id)s, %(started)s, %(seconds)s, %(rows)s, %(succeeded)s, %(status)s, %(bars_made)s,
        %(gaps_found)s, %(gaps_filled)s, %(oldest_gap)s, %(detail)s)
"""

_RECENT = """
SELECT job, run_id, started, seconds, rows, succeeded, status, bars_made, gaps_found, gaps_filled, oldest_gap,
       detail::text AS detail
FROM ops.job_metrics WHERE ($1::text = '' OR job = $1) AND started >= $2 ORDER BY started, id
"""

# The last run of each job is what a person looks at first; how many failed in a row decides about an alert.
_SUMMARY = """
SELECT job, count(*) AS runs, sum(bars_made)::bigint AS bars_made, sum(gaps_found)::bigint AS gaps_found,
       sum(gaps_filled)::bigint AS gaps_filled,
       (array_agg(oldest_gap ORDER BY id DESC))[1] AS oldest_gap,
       (array_agg(status ORDER BY id DESC))[1] AS last_status,
       max(started) AS last_started, (array_agg(seconds ORDER BY id DESC))[1] AS last_seconds,
       count(*) FILTER (WHERE id > coalesce(last_good, 0)) AS failures_in_a_row
FROM ops.job_metrics
LEFT JOIN (SELECT job, max(id) FILTER (WHERE succeeded) AS last_good FROM ops.job_metrics GROUP BY job) g USING (job)
WHERE started >= $1 GROUP BY job ORDER BY job
"""


@dataclass(slots=True)
class JobMetrics:
    """One run of one job."""

    job: str
    started: datetime
    seconds: float
    succeeded: bool = True
    status: str = "succeeded"
    run_id: str | None = None
    rows: int = 0
    bars_made: int = 0
    gaps_found: int = 0
    gaps_filled: int = 0
    oldest_gap: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


class Metrics:
    """``ops.job_metrics``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record(self, metrics: JobMetrics) -> None:
        """Add one run."""
        values = asdict(metrics) | {"detail": json_text(metrics.detail)}
        self._connections.run(lambda connection: connection.execute(_RECORD, values) and None)

    def recent(self, since: datetime, job: str = "") -> pl.DataFrame:
        """Runs (of one job) that started at or after ``since``, oldest first."""
        return self._connections.frame(_RECENT, [job, since]).with_columns(pl.col("started", "oldest_gap").cast(UTC_MS))

    def summary(self, since: datetime) -> pl.DataFrame:
        """Per job: ``runs``, ``bars_made``, ``gaps_found``, ``gaps_filled`` since then, and of the last run
        ``oldest_gap``, ``last_status``, ``last_started``, ``last_seconds``; ``failures_in_a_row`` up to now.
        """
        return self._connections.frame(_SUMMARY, [since]).with_columns(
            pl.col("oldest_gap", "last_started").cast(UTC_MS)
        )

    def prune(self, keep: timedelta) -> int:
        """Forget runs older than that; returns how many."""

        def forget(connection: psycopg.Connection[Any]) -> int:
            return connection.execute(
                "DELETE FROM ops.job_metrics WHERE started < clock_timestamp() - %s::interval", [keep]
            ).rowcount

        return self._connections.run(forget)
