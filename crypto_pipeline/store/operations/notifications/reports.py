"""Facts that reports tell, by bounded SQL, and the reports that were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

# Only of series that are collected: a span of two days at most, so the newest partitions are read.
_BARS = """
SELECT coalesce(i.venue, '') AS venue, o.timeframe, s.name AS source, count(*) AS bars, max(o.open_time) AS newest
FROM market.ohlc_data o
JOIN market.instruments i USING (instrument_id)
LEFT JOIN market.bar_sources s USING (source_rank)
WHERE o.open_time >= %(start)s AND o.open_time < %(end)s
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 500
"""
_PER_HOUR = """
SELECT date_trunc('hour', o.open_time) AS hour, count(*) AS bars
FROM market.ohlc_data o
WHERE o.timeframe = '1m' AND o.open_time >= %(start)s AND o.open_time < %(end)s GROUP BY 1 ORDER BY 1
"""
_NEWEST = """
SELECT coalesce(i.venue, '') AS venue, t.timeframe, count(*) AS instruments, count(b.open_time) AS with_bars,
       min(b.open_time) AS oldest, max(b.open_time) AS newest
FROM market.instruments i
CROSS JOIN (SELECT unnest(%(timeframes)s::text[]) AS timeframe) t
LEFT JOIN LATERAL (
    SELECT o.open_time FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = t.timeframe ORDER BY o.open_time DESC LIMIT 1
) b ON true
WHERE i.active GROUP BY 1, 2 ORDER BY 1, 2
"""
_GAPS = """
SELECT g.timeframe,
       count(*) FILTER (WHERE g.first_seen >= %(start)s AND g.first_seen < %(end)s) AS gaps_found,
       count(*) FILTER (WHERE g.state = 'healed' AND g.closed_at >= %(start)s AND g.closed_at < %(end)s)
           AS gaps_filled,
       count(*) FILTER (WHERE g.closed_at IS NULL AND g.state IN ('pending', 'lost', 'unproven')) AS gaps_open
FROM market.gaps g
WHERE (g.first_seen >= %(start)s AND g.first_seen < %(end)s) OR (g.closed_at >= %(start)s AND g.closed_at < %(end)s)
   OR (g.closed_at IS NULL AND g.state IN ('pending', 'lost', 'unproven'))
GROUP BY 1 ORDER BY 1
"""
_ALERTS = """
SELECT a.source, a.severity, count(*) AS times, bool_or(a.resolved_at IS NULL) AS open, max(a.opened_at) AS newest,
       (array_agg(a.summary ORDER BY a.opened_at DESC))[1] AS summary
FROM ops.alerts a
WHERE (a.opened_at >= %(start)s AND a.opened_at < %(end)s) OR a.resolved_at IS NULL
GROUP BY 1, 2
ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], a.severity), times DESC, a.source LIMIT 200
"""
_JOBS = """
SELECT job, count(*) AS runs, count(*) FILTER (WHERE NOT succeeded) AS failed, sum(rows)::bigint AS rows,
       sum(gaps_found)::bigint AS gaps_found, sum(gaps_filled)::bigint AS gaps_filled
FROM ops.job_metrics WHERE started >= %(start)s AND started < %(end)s GROUP BY 1 ORDER BY failed DESC, 1 LIMIT 200
"""

_PUT = """
INSERT INTO ops.reports (report, local_date, time_zone, span_start, span_end, content, file)
VALUES (%(report)s, %(local_date)s, %(time_zone)s, %(span_start)s, %(span_end)s, %(content)s, %(file)s)
ON CONFLICT (report, local_date) DO NOTHING RETURNING report
"""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report that was made: its content is what ``ReportContent.as_dict`` gives."""

    report: str
    local_date: date
    time_zone: str
    span_start: datetime
    span_end: datetime
    made_at: datetime
    content: dict[str, Any]
    file: str


class Reports:
    """Reads what reports tell, and keeps ``ops.reports``. Spans are [start, end), UTC."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def bars(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """Bars of the span by venue, timeframe and source: venue, timeframe, source, bars, newest."""
        return self._dicts(_BARS, start, end)

    def bars_per_hour(self, start: datetime, end: datetime) -> list[tuple[datetime, int]]:
        """Number of 1m bars by hour, for hours that have some."""
        return [(row["hour"], row["bars"]) for row in self._dicts(_PER_HOUR, start, end)]

    def newest_bars(self, timeframes: Sequence[str]) -> list[dict[str, Any]]:
        """By venue and timeframe of active instruments: instruments, with_bars, and oldest and newest of their newest
        bars."""
        return self._read(_NEWEST, {"timeframes": list(timeframes)})

    def gaps(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """By timeframe: gaps_found and gaps_filled in the span, gaps_open now without a reason."""
        return self._dicts(_GAPS, start, end)

    def alerts(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """Alerts that opened in the span or are open, by source and severity: times, open, newest, summary."""
        return self._dicts(_ALERTS, start, end)

    def jobs(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """Jobs of the span: job, runs, failed, rows, gaps_found, gaps_filled."""
        return self._dicts(_JOBS, start, end)

    @staticmethod
    def put(connection: psycopg.Connection[Any], values: Mapping[str, Any]) -> bool:
        """Store a report in the caller's transaction; False where there is one of this kind and date already.

        ``values``: report, local_date, time_zone, span_start, span_end, content, file.
        """
        sent = dict(values) | {"content": json_text(values["content"])}
        return connection.execute(_PUT, sent).fetchone() is not None

    def get(self, report: str, local_date: date) -> StoredReport | None:
        """The report of this kind and date; None if there is none."""

        def read(connection: psycopg.Connection[Any]) -> StoredReport | None:
            with connection.cursor(row_factory=class_row(StoredReport)) as cursor:
                query = "SELECT * FROM ops.reports WHERE report = %s AND local_date = %s"
                return cursor.execute(query, [report, local_date]).fetchone()

        return self._connections.run(read)

    def _dicts(self, query: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        return self._read(query, {"start": start, "end": end})

    def _read(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        from psycopg.rows import dict_row

        def read(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query, values).fetchall()

        return self._connections.run(read)
