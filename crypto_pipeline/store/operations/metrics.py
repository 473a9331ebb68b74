"""Metrics of jobs: one row per run in ``ops.job_metrics``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Text, cast, delete, func, insert, select

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.database.frames import core_frame
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.job_metrics import JobMetrics
from crypto_pipeline.store.schema.tables import JOB_METRICS

#: Schema of ``recent``. ``detail`` is JSON.
RUN_SCHEMA: dict[str, pl.DataType] = {
    "job": pl.String(),
    "run_id": pl.String(),
    "started": UTC_MS,
    "seconds": pl.Float64(),
    "rows": pl.Int64(),
    "succeeded": pl.Boolean(),
    "status": pl.String(),
    "bars_made": pl.Int64(),
    "gaps_found": pl.Int64(),
    "gaps_filled": pl.Int64(),
    "oldest_gap": UTC_MS,
    "detail": pl.String(),
}

# People look at the last run of each job first; the number of failures in a row decides about an alert.
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


class Metrics:
    """Reads and writes ``ops.job_metrics``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record(self, metrics: JobMetrics) -> None:
        """Add one run."""
        statement = insert(JOB_METRICS).values(asdict(metrics))
        self._connections.run_core(lambda connection: connection.execute(statement) and None)

    def recent(self, since: datetime, job: str = "") -> pl.DataFrame:
        """Runs (of one job) that started at or after ``since``, in RUN_SCHEMA, oldest first."""
        runs = JOB_METRICS.c
        columns = [cast(runs.detail, Text).label(name) if name == "detail" else runs[name] for name in RUN_SCHEMA]
        query = select(*columns).where(runs.started >= since).order_by(runs.started, runs.id)
        return core_frame(self._connections, query.where(runs.job == job) if job else query, RUN_SCHEMA)

    def summary(self, since: datetime) -> pl.DataFrame:
        """Per job: ``runs``, ``bars_made``, ``gaps_found`` and ``gaps_filled`` since ``since``; ``oldest_gap``,
        ``last_status``, ``last_started`` and ``last_seconds`` of the last run; ``failures_in_a_row`` up to now."""
        return self._connections.frame(_SUMMARY, [since]).with_columns(
            pl.col("oldest_gap", "last_started").cast(UTC_MS)
        )

    def prune(self, keep: timedelta) -> int:
        """Delete runs older than ``keep``; return how many."""

        old = delete(JOB_METRICS).where(JOB_METRICS.c.started < func.clock_timestamp() - keep)
        return self._connections.run_core(lambda connection: connection.execute(old).rowcount)
