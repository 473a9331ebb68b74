"""States of checks in ``ops.check_results``, and the alerts that follow from them, over one plain connection.

No frames here: the program that writes these states every few seconds must stay small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

_READ = """
SELECT check_name AS source, timeframe AS subject, status, severity, summary, figure, threshold, checked_at, since,
       extract(epoch FROM clock_timestamp() - checked_at)::float8 AS age,
       CASE WHEN jsonb_typeof(detail->'offenders') = 'array' THEN detail->'offenders' ELSE '[]' END AS offenders
FROM ops.check_results ORDER BY check_name, timeframe LIMIT 2000
"""
_ROWS = """
unnest(%(sources)s::text[], %(statuses)s::text[], %(severities)s::text[], %(summaries)s::text[], %(figures)s::float8[],
       %(thresholds)s::text[], %(details)s::jsonb[]) AS u (source, status, severity, summary, figure, threshold, detail)
"""
# An unknown state is no verdict: ``passed`` stays what it was, and the alert as it is.
_STORE = f"""
INSERT INTO ops.check_results AS c
    (check_name, timeframe, passed, status, severity, summary, figure, threshold, detail, checked_at, since)
SELECT source, '', status <> 'bad', status, severity, summary, figure, threshold, detail, clock_timestamp(),
       clock_timestamp()
FROM {_ROWS} ORDER BY source
ON CONFLICT (check_name, timeframe) DO UPDATE SET
    passed = CASE WHEN excluded.status = 'unknown' THEN c.passed ELSE excluded.passed END,
    status = excluded.status, severity = excluded.severity, summary = excluded.summary, figure = excluded.figure,
    threshold = excluded.threshold, detail = excluded.detail, checked_at = excluded.checked_at,
    since = CASE WHEN c.status = excluded.status THEN c.since ELSE excluded.checked_at END
"""  # noqa: S608  (put together from constants)
_OPEN = f"""
INSERT INTO ops.alerts AS a (source, timeframe, severity, summary, detail)
SELECT source, '', severity, summary, detail FROM {_ROWS} WHERE status = 'bad' ORDER BY source
ON CONFLICT (source, timeframe) WHERE resolved_at IS NULL DO UPDATE SET
    severity = excluded.severity, summary = excluded.summary, detail = excluded.detail,
    last_seen = clock_timestamp(), times_seen = a.times_seen + 1
"""  # noqa: S608  (put together from constants)
_CLOSE = """
UPDATE ops.alerts SET resolved_at = clock_timestamp()
WHERE resolved_at IS NULL AND timeframe = '' AND source = ANY(%(well)s)
"""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A stored state of a check. ``age``: seconds since it was evaluated, by the database's clock."""

    source: str
    subject: str
    status: str
    severity: str
    summary: str
    figure: float | None
    threshold: str
    checked_at: datetime
    since: datetime
    age: float
    offenders: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NewState:
    """A state to store."""

    source: str
    status: str
    severity: str
    summary: str
    figure: float | None = None
    threshold: str = ""
    offenders: Sequence[Any] = field(default_factory=list)


def read_states(connection: psycopg.Connection[Any]) -> list[StoredState]:
    """The newest state of every check, by name and subject. Raises psycopg.Error."""
    with connection.cursor(row_factory=class_row(StoredState)) as cursor:
        return cursor.execute(_READ).fetchall()


def write_states(connection: psycopg.Connection[Any], states: Sequence[NewState]) -> None:
    """Store states; a bad one opens its alert or sees it again, one that is ok closes it. Raises psycopg.Error."""
    values = {
        "sources": [one.source for one in states],
        "statuses": [one.status for one in states],
        "severities": [one.severity for one in states],
        "summaries": [one.summary.replace("\x00", "") for one in states],
        "figures": [one.figure for one in states],
        "thresholds": [one.threshold for one in states],
        "details": [json.dumps({"offenders": list(one.offenders)}, default=str) for one in states],
        "well": [one.source for one in states if one.status == "ok"],
    }
    with connection.transaction():
        connection.execute(_STORE, values)
        connection.execute(_OPEN, values)
        connection.execute(_CLOSE, values)
