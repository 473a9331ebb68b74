"""Results of checks and their alerts. An alert is open while its check fails, and is kept as history afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import Connection, Text, Update, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import core_frame
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.check_states import StoredState, read_states
from crypto_pipeline.store.schema.tables import ALERTS, CHECK_RESULTS

#: Schema of ``results``. ``detail`` is JSON.
RESULT_SCHEMA: dict[str, pl.DataType] = {
    "check": pl.String(),
    "timeframe": pl.String(),
    "passed": pl.Boolean(),
    "severity": pl.String(),
    "summary": pl.String(),
    "detail": pl.String(),
    "checked_at": UTC_MS,
    "since": UTC_MS,
}
#: Schema of ``open_alerts``. ``detail`` is JSON.
ALERT_SCHEMA: dict[str, pl.DataType] = {
    "alert_id": pl.Int64(),
    "source": pl.String(),
    "timeframe": pl.String(),
    "severity": pl.String(),
    "summary": pl.String(),
    "detail": pl.String(),
    "opened_at": UTC_MS,
    "last_seen": UTC_MS,
    "times_seen": pl.Int32(),
}


class Checks:
    """Reads and writes ``ops.check_results`` and ``ops.alerts``."""

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
        *,
        unknown: bool = False,
    ) -> None:
        """Store a check's newest result; in the same transaction a failure opens its alert and a pass resolves it.

        ``unknown``: what did not pass is not proven to be wrong either.
        """
        values = _values(check, timeframe, severity, summary, detail)
        alert = _resolve(values["source"], values["timeframe"]) if passed else _raise(values)

        def record(connection: Connection) -> None:
            connection.execute(_result(values, passed, "ok" if passed else "unknown" if unknown else "bad"))
            connection.execute(alert)

        self._connections.run_core(record)

    def forget(self, prefix: str) -> None:
        """Drop the results of checks whose names begin so, which are no longer made, and close their alerts."""
        results = CHECK_RESULTS.delete().where(CHECK_RESULTS.c.check_name.startswith(prefix, autoescape=True))
        begins = ALERTS.c.source.startswith(prefix, autoescape=True)
        alerts = update(ALERTS).where(begins, ALERTS.c.resolved_at.is_(None))

        def work(connection: Connection) -> None:
            connection.execute(results)
            connection.execute(alerts.values(resolved_at=func.clock_timestamp()))

        self._connections.run_core(work)

    def raise_alert(
        self,
        source: str,
        severity: str,
        summary: str,
        detail: Mapping[str, Any] | None = None,
        timeframe: Timeframe | str | None = None,
    ) -> None:
        """Open an alert without a check (a failed run), or update the open one."""
        values = _values(source, timeframe, severity, summary, detail)
        statement = _raise(values)
        self._connections.run_core(lambda connection: connection.execute(statement) and None)

    def resolve_alert(self, source: str, timeframe: Timeframe | str | None = None) -> bool:
        """Resolve an open alert; False if there is none."""
        statement = _resolve(source, str(timeframe or ""))
        return self._connections.run_core(lambda connection: connection.execute(statement).rowcount) > 0

    def states(self) -> list[StoredState]:
        """The newest state of every check, by name and subject, with its age by the database's clock."""
        return self._connections.run(read_states)

    def results(self) -> pl.DataFrame:
        """The newest result of every check, in RESULT_SCHEMA, by name and timeframe.

        ``timeframe`` is empty if a check has none; ``since`` is the time (UTC) of the last change between pass and
        fail.
        """
        results = CHECK_RESULTS.c
        query = select(
            results.check_name.label("check"), results.timeframe, results.passed, results.severity, results.summary,
            cast(results.detail, Text).label("detail"), results.checked_at, results.since,
        )  # fmt: skip
        return core_frame(self._connections, query.order_by(results.check_name, results.timeframe), RESULT_SCHEMA)

    def failed_on(self, of: str) -> dict[str, dict[str, Any]]:
        """``detail`` of each failed check called ``<name>:<of>``, by name."""
        rows = self.results().filter(~pl.col("passed") & pl.col("check").str.ends_with(f":{of}"))
        return {
            check.removesuffix(f":{of}"): json.loads(detail) for check, detail in rows.select("check", "detail").rows()
        }

    def open_alerts(self) -> pl.DataFrame:
        """Open alerts in ALERT_SCHEMA, the most severe first, then the oldest."""
        alerts = ALERTS.c
        gravity = case({name: place for place, name in enumerate(SEVERITIES)}, value=alerts.severity)
        query = select(
            alerts.id.label("alert_id"), alerts.source, alerts.timeframe, alerts.severity, alerts.summary,
            cast(alerts.detail, Text).label("detail"), alerts.opened_at, alerts.last_seen, alerts.times_seen,
        ).where(alerts.resolved_at.is_(None))  # fmt: skip
        return core_frame(self._connections, query.order_by(gravity, alerts.opened_at), ALERT_SCHEMA)


def _result(values: Mapping[str, Any], passed: bool, status: str) -> Insert:
    """The statement that replaces a check's result; ``since`` stays while the result is the same."""
    new = {name: values[name] for name in ("timeframe", "severity", "summary", "detail")}
    statement = insert(CHECK_RESULTS).values(check_name=values["source"], passed=passed, status=status, **new)
    before, now = CHECK_RESULTS.c, statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[before.check_name, before.timeframe],
        set_={
            **{name: now[name] for name in ("passed", "status", "severity", "summary", "detail", "checked_at")},
            "since": case((before.status == now.status, before.since), else_=now.checked_at),
        },
    )


def _raise(values: Mapping[str, Any]) -> Insert:
    """The statement that opens an alert, or updates the open one."""
    statement = insert(ALERTS).values(**values)
    now = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[ALERTS.c.source, ALERTS.c.timeframe],
        index_where=ALERTS.c.resolved_at.is_(None),
        set_={
            **{name: now[name] for name in ("severity", "summary", "detail", "last_seen")},
            "times_seen": ALERTS.c.times_seen + 1,
        },
    )


def _resolve(source: str, timeframe: str) -> Update:
    """The statement that resolves the open alert."""
    alerts = ALERTS.c
    open_one = alerts.source == source, alerts.timeframe == timeframe, alerts.resolved_at.is_(None)
    return update(ALERTS).where(*open_one).values(resolved_at=func.clock_timestamp())


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
        "detail": dict(detail or {}),
    }
