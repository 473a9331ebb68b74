"""Alerts as the notifier and people see them: looks, announcements, acknowledgements, mutes and maintenance windows.

Only psycopg is imported: the notifier is a resident program and must stay small. ``check_results`` opens and closes
alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

#: Most alerts that one look reads.
MOST_ALERTS = 2_000

_ROWS = """
SELECT a.id, a.source, a.timeframe, a.severity, a.summary, a.detail, a.opened_at, a.resolved_at, a.first_look,
       a.announced_at, a.announcements, a.recovery_at, a.acknowledged_at, a.acknowledged_by,
       others.last_message, others.muted_until, coalesce(to_jsonb(c) - 'detail', '{{}}') AS result
FROM ops.alerts a
LEFT JOIN ops.check_results c ON c.check_name = a.source AND c.timeframe = a.timeframe
CROSS JOIN LATERAL (
    SELECT max(b.announced_at) AS last_message, max(b.muted_until) AS muted_until FROM ops.alerts b
    WHERE b.source = a.source AND b.timeframe = a.timeframe
      AND (b.announced_at IS NOT NULL OR b.muted_until IS NOT NULL)) others
WHERE {which}
ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], a.severity), a.opened_at, a.id
LIMIT {most}
"""

_NOTABLE = "a.resolved_at IS NULL OR (a.announced_at IS NOT NULL AND a.recovery_at IS NULL)"
_OPEN = "a.resolved_at IS NULL"
_OPEN_OR_ENDED = "a.resolved_at IS NULL OR a.resolved_at > clock_timestamp() - %s::interval"

_LOOK = "UPDATE ops.alerts SET first_look = %s WHERE resolved_at IS NULL AND first_look IS NULL"

_ANNOUNCED = "UPDATE ops.alerts SET announced_at = %s, announcements = announcements + 1 WHERE id = ANY(%s)"
_RECOVERED = "UPDATE ops.alerts SET recovery_at = %s WHERE id = ANY(%s)"
_CONTINUED = """
UPDATE ops.alerts a SET announced_at = b.announced_at, announcements = b.announcements, first_look = b.first_look
FROM ops.alerts b WHERE a.id = %s AND b.id = %s
"""

_ACKNOWLEDGE = """
UPDATE ops.alerts SET acknowledged_at = clock_timestamp(), acknowledged_by = %s
WHERE id = ANY(%s) AND resolved_at IS NULL RETURNING id
"""

_MUTE = """
UPDATE ops.alerts a SET muted_until = CASE WHEN a.id = chosen.id THEN %(until)s::timestamptz END
FROM ops.alerts chosen
WHERE chosen.id = ANY(%(ids)s) AND a.source = chosen.source AND a.timeframe = chosen.timeframe
  AND (a.id = chosen.id OR a.muted_until IS NOT NULL)
RETURNING a.id
"""

_PAST = """
INSERT INTO ops.alerts (source, severity, summary, detail, opened_at, last_seen, resolved_at, first_look, announced_at,
                        announcements)
SELECT %(source)s, %(severity)s, %(summary)s, %(detail)s::jsonb, %(opened_at)s, %(resolved_at)s, %(resolved_at)s,
       %(opened_at)s, %(announced_at)s, CASE WHEN %(announced_at)s::timestamptz IS NULL THEN 0 ELSE 1 END
WHERE NOT EXISTS (
    SELECT FROM ops.alerts WHERE source = %(source)s AND opened_at = %(opened_at)s AND detail @> %(detail)s::jsonb)
"""

_WINDOWS = """
SELECT id, source, starts_at, ends_at, reason FROM ops.maintenance_windows
WHERE ends_at > %s ORDER BY starts_at, id LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """A row of ``ops.alerts`` with what is known of the same source and timeframe; all times in UTC.

    Attributes:
        last_message: When this source and timeframe was announced most recently, by whichever row.
        muted_until: Until when it is muted, by whichever row.
        result: The newest result of the check of the same name; empty where there is none.
    """

    id: int
    source: str
    timeframe: str
    severity: str
    summary: str
    detail: dict[str, Any]
    opened_at: datetime
    resolved_at: datetime | None
    first_look: datetime | None
    announced_at: datetime | None
    announcements: int
    recovery_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    last_message: datetime | None
    muted_until: datetime | None
    result: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Source and timeframe: the same alert, however often it opens."""
        return self.source, self.timeframe


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """Planned work: alerts whose source matches ``source`` (with ``*`` for any text) are not announced meanwhile."""

    id: int
    source: str
    starts_at: datetime
    ends_at: datetime
    reason: str


class AlertRecords:
    """Reads and writes what is announced, acknowledged and muted of ``ops.alerts``, and the maintenance windows.

    Methods with a ``connection`` are parts of the caller's transaction.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def open_records(self) -> list[AlertRecord]:
        """Open alerts, the most severe first, then the oldest."""
        return self._connections.run(_read, _OPEN)

    def open_or_ended(self, lately: timedelta) -> list[AlertRecord]:
        """Open alerts and those that ended not longer than ``lately`` ago, in the order of ``open_records``."""
        return self._connections.run(_read, _OPEN_OR_ENDED, [lately])

    @staticmethod
    def look(connection: psycopg.Connection[Any], now: datetime) -> list[AlertRecord]:
        """Note that open alerts were seen, and return them with those whose recovery was not announced yet."""
        connection.execute(_LOOK, [now])
        return _read(connection, _NOTABLE)

    @staticmethod
    def announced(connection: psycopg.Connection[Any], ids: Sequence[int], now: datetime) -> None:
        """Note that a message about these alerts is in the outbox."""
        connection.execute(_ANNOUNCED, [now, list(ids)])

    @staticmethod
    def recovered(connection: psycopg.Connection[Any], ids: Sequence[int], now: datetime) -> None:
        """Note that the end of these alerts needs no further message."""
        connection.execute(_RECOVERED, [now, list(ids)])

    @staticmethod
    def continued(connection: psycopg.Connection[Any], before: int, after: int) -> None:
        """Let the open alert ``after`` count as announced with ``before``, which ended a moment ago."""
        connection.execute(_CONTINUED, [after, before])

    @staticmethod
    def add_past(connection: psycopg.Connection[Any], **values: Any) -> None:
        """Store an alert that ended while it could not be stored: source, severity, summary, detail, opened_at,
        resolved_at, announced_at (None: it was not announced). Doing it again changes nothing."""
        connection.execute(_PAST, values | {"detail": json_text(values["detail"])})

    def acknowledge(self, ids: Sequence[int], who: str) -> list[int]:
        """Note that ``who`` works on these open alerts; return those that there are."""
        return self._connections.run(_ids, _ACKNOWLEDGE, [who, list(ids)])

    def mute(self, ids: Sequence[int], until: datetime | None) -> list[int]:
        """Mute what these alerts are about until then, None to end it; return the alerts that there are."""
        changed = self._connections.run(_ids, _MUTE, {"ids": list(ids), "until": until})
        return [one for one in ids if one in changed]

    def windows(self, now: datetime) -> list[MaintenanceWindow]:
        """Maintenance windows that have not ended at ``now``."""
        return self._connections.run(windows_of, now)

    def add_window(self, source: str, starts_at: datetime, ends_at: datetime, reason: str) -> int:
        """Add a maintenance window; return its id."""
        statement = (
            "INSERT INTO ops.maintenance_windows (source, starts_at, ends_at, reason) VALUES (%s, %s, %s, %s) "
            "RETURNING id"
        )
        return self._connections.run(_ids, statement, [source, starts_at, ends_at, reason])[0]

    def end_window(self, window: int, now: datetime) -> bool:
        """End a maintenance window now, or remove it if it has not begun; False if there is no such window."""
        ended = "UPDATE ops.maintenance_windows SET ends_at = %s WHERE id = %s AND starts_at < %s RETURNING id"
        removed = "DELETE FROM ops.maintenance_windows WHERE id = %s AND starts_at >= %s RETURNING id"

        def work(connection: psycopg.Connection[Any]) -> bool:
            return bool(_ids(connection, ended, [now, window, now]) or _ids(connection, removed, [window, now]))

        return self._connections.run(work)


def windows_of(connection: psycopg.Connection[Any], now: datetime) -> list[MaintenanceWindow]:
    """Maintenance windows that have not ended at ``now``, as part of the caller's transaction."""
    with connection.cursor(row_factory=class_row(MaintenanceWindow)) as cursor:
        return cursor.execute(_WINDOWS, [now]).fetchall()


def _read(connection: psycopg.Connection[Any], which: str, values: Sequence[Any] = ()) -> list[AlertRecord]:
    with connection.cursor(row_factory=class_row(AlertRecord)) as cursor:
        return cursor.execute(_ROWS.format(which=which, most=MOST_ALERTS), values or None).fetchall()


def _ids(connection: psycopg.Connection[Any], statement: str, values: Any) -> list[int]:
    return [row[0] for row in connection.execute(statement, values).fetchall()]
