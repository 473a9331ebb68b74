"""Results of checks, and the alerts that follow from them: open while something is wrong, history afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from psycopg import Connection

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.checks import SEVERITIES
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.json_values import json_text
from crypto_pipeline.store.database.pool import Connections

_RESULT = """
INSERT INTO ops.check_results AS r (check_name, timeframe, passed, severity, summary, detail)
VALUES (%(source)s, %(timeframe)s, %(passed)s, %(severity)s, %(summary)s, %(detail)s)
ON CONFLICT (check_name, timeframe) DO UPDATE SET
    passed = excluded.passed, severity = excluded.severity, summary = excluded.summary, detail = excluded.detail,
    checked_at = excluded.checked_at,
    since = CASE WHEN r.passed = excluded.passed THEN r.since ELSE excluded.checked_at END"""

_RAISE = """
INSERT INTO ops.alerts AS a (source, timeframe, severity, summary, detail)
VALUES (%(source)s, %(timeframe)s, %(severity)s, %(summary)s, %(detail)s)
ON CONFLICT (source, timeframe) WHERE resolved_at IS NULL DO UPDATE SET
    severity = excluded.severity, summary = excluded.summary, detail = excluded.detail,
    last_seen = excluded.last_seen, times_seen = a.times_seen + 1"""

_RESOLVE = """
UPDATE ops.alerts SET resolved_at = clock_timestamp()
WHERE source = %(source)s AND timeframe = %(timeframe)s AND resolved_at IS NULL"""


# Severities in the order of their gravity
_GRAVITY = f"array_position(ARRAY{list(SEVERITIES)}, severity)"

_RESULTS = """
SELECT check_name AS "check", timeframe, passed, severity, summary, detail::text AS detail, checked_at, since
FROM ops.check_results ORDER BY check_name, timeframe"""

_OPEN_ALERTS = f"""
SELECT id AS alert_id, source, timeframe, severity, summary, detail::text AS detail, opened_at, last_seen, times_seen
FROM ops.alerts WHERE resolved_at IS NULL ORDER BY {_GRAVITY}, opened_at"""  # noqa: S608  (a constant)


class Checks:
    """``ops.check_results`` and ``ops.alerts``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record_result(
        self,
        check: str,
        timeframe: Timeframe | str | None,
        passed: bool,
        severity: str = "error",
        summary: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a check's newest result; in the same transaction a failure opens its alert and a pass resolves it."""
        values = _values(check, timeframe, severity, summary, detail) | {"passed": passed}

        def record(connection: Connection) -> None:
            connection.execute(_RESULT, values)
            connection.execute(_RESOLVE if passed else _RAISE, values)

        self._connections.run(record)

    def raise_alert(
        self,
        source: str,
        severity: str,
        summary: str,
        detail: Mapping[str, Any] | None = None,
        timeframe: Timeframe | str | None = None,
    ) -> None:
        """Open an alert that no check stands behind (a failed run), or refresh the one that is open already."""
        values = _values(source, timeframe, severity, summary, detail)
        self._connections.run(lambda connection: connection.execute(_RAISE, values) and None)

    def resolve_alert(self, source: str, timeframe: Timeframe | str | None = None) -> bool:
        """Close an open alert; False when there is none."""
        values = {"source": source, "timeframe": str(timeframe or "")}
        return self._connections.run(lambda connection: connection.execute(_RESOLVE, values).rowcount > 0)

    def results(self) -> pl.DataFrame:
        """The newest result of every check: ``check``, ``timeframe`` (empty where a check has none), ``passed``,
        ``severity``, ``summary``, ``detail`` (JSON), ``checked_at``, ``since`` (when the verdict last changed).
        """
        return self._connections.frame(_RESULTS).with_columns(pl.col("checked_at", "since").cast(UTC_MS))

    def failed_on(self, of: str) -> dict[str, dict[str, Any]]:
        """What each failed check called ``<name>:<of>`` failed on: its ``detail``, by name."""
        rows = self.results().filter(~pl.col("passed") & pl.col("check").str.ends_with(f":{of}"))
        return {
            check.removesuffix(f":{of}"): json.loads(detail) for check, detail in rows.select("check", "detail").rows()
        }

    def open_alerts(self) -> pl.DataFrame:
        """Alerts whose reason still holds, gravest and oldest first: ``alert_id``, ``source``, ``timeframe``,
        ``severity``, ``summary``, ``detail`` (JSON), ``opened_at``, ``last_seen``, ``times_seen``.
        """
        return self._connections.frame(_OPEN_ALERTS).with_columns(pl.col("opened_at", "last_seen").cast(UTC_MS))


def _values(
    source: str, timeframe: Timeframe | str | None, severity: str, summary: str, detail: Mapping[str, Any] | None
) -> dict[str, Any]:
    if severity not in SEVERITIES:
        raise StoreError(f"severity {severity!r} of {source}: use one of {', '.join(SEVERITIES)}")
    return {
        "source": source,
        "timeframe": str(timeframe or ""),
        "severity": severity,
        "summary": summary.replace("\x00", ""),
        "detail": json_text(detail),
    }
