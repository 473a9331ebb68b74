"""The market's clock: the current time for bars, independent of the clocks of this machine and of the database.

The venue defines it. Its last stated time is kept in ``market.clock``, and the database's clock measures the time since
then. So a deployment on a recording behaves like one on today's market, a machine with a wrong clock still finds
the bars that are due, and an outage of the venue changes nothing. Ages of leases, heartbeats and runs use the
database's own clock instead.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.pool import Connections

# Written if the venue's time differs from the known one, or a minute has passed: every healing pass asks the venue.
_LEARN = """
INSERT INTO market.clock AS c (venue, stated, measured_at, rate)
VALUES (%(venue)s, %(stated)s, clock_timestamp(), %(rate)s)
ON CONFLICT (only_row) DO UPDATE
SET venue = excluded.venue, stated = excluded.stated, measured_at = excluded.measured_at, rate = excluded.rate
WHERE c.venue <> excluded.venue OR c.rate <> excluded.rate
   OR excluded.measured_at NOT BETWEEN c.measured_at AND c.measured_at + interval '1 minute'
   OR abs(extract(epoch FROM c.stated + (excluded.measured_at - c.measured_at) * c.rate - excluded.stated)) > 0.5
RETURNING c.xmax = 0 AS first, c.stated - c.measured_at AS ahead
"""
# Instruments that were added before a venue stated its time have dates by the database's clock; they are corrected now.
# A small difference is ignored: readers of the earlier date would take the instrument for one that was added again.
_DATE_AGAIN = """
UPDATE market.instruments SET added_at = added_at + %(ahead)s
WHERE abs(extract(epoch FROM %(ahead)s::interval)) > 60
"""
_NOW = "SELECT market.now(), (SELECT rate FROM market.clock)"
#: Seconds for which ``lately`` uses its last reading.
_KEPT = 5.0


class Clock:
    """Reads and sets ``market.clock``. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._read: tuple[float, datetime, float] | None = None

    def learn(self, venue: str, stated: datetime, rate: float = 1.0) -> None:
        """Store the venue's current time ``stated`` (UTC); its clock runs ``rate`` times as fast as ours."""
        values = {"venue": venue, "stated": require_utc(stated), "rate": rate}
        self._connections.run(_learn, values)
        self._read = None

    def now(self) -> datetime:
        """The market's time, UTC; the database's time if no venue has stated its time yet."""
        moment, rate = _told(self._connections.row(_NOW))
        self._read = time.monotonic(), moment, rate
        return moment

    def lately(self) -> datetime:
        """The market's time for frequent reads: the database is queried every 5 s, this process measures in between."""
        read = self._read
        if read is None or time.monotonic() - read[0] > _KEPT:
            return self.now()
        return _counted_on(read)

    def reckoned(self) -> datetime:
        """The market's time from the last reading plus the time since; only the first call queries the database.

        For code that must work while the database is down, and may see a set clock late.
        """
        read = self._read
        return self.now() if read is None else _counted_on(read)


def _counted_on(read: tuple[float, datetime, float]) -> datetime:
    at, moment, rate = read
    return moment + timedelta(seconds=(time.monotonic() - at) * rate)


def stated_now(url: str) -> datetime | None:
    """The market's time, read without a pool; None if no venue has stated its time, or the schema is older."""
    with connect(url) as connection:
        if connection.execute("SELECT to_regclass('market.clock')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT market.now() FROM market.clock").fetchone()
        return None if row is None else row[0].astimezone(UTC)


def _learn(connection: psycopg.Connection[Any], values: dict[str, Any]) -> None:
    written = connection.execute(_LEARN, values).fetchone()
    if written is not None and written[0]:
        connection.execute(_DATE_AGAIN, {"ahead": written[1]})


def market_now(connection: psycopg.Connection[Any]) -> tuple[datetime, float]:
    """The market's time at the start of this transaction, and its rate."""
    row = connection.execute(_NOW).fetchone()
    assert row is not None
    return _told(row)


def _told(row: tuple[Any, ...]) -> tuple[datetime, float]:
    return row[0], 1.0 if row[1] is None else row[1]
