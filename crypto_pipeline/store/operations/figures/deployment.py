"""Figures of a deployment for scrapes and health pages: each is one bounded query, none reads bars row by row.

What sums the table of coverage or looks up the newest bar of every series (``stored_bars``, ``newest_bars``, ``gaps``)
takes tens of milliseconds with hundreds of instruments, and belongs in the background of a scrape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.pg_errors import explained, is_transient
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.retry import retrying

T = TypeVar("T")
Rows = list[dict[str, Any]]

_DATABASE = """
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size_bytes,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only,
       current_setting('max_connections')::int AS connections_max,
       (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::int AS connections,
       extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS uptime_seconds
"""

_MIRROR = """
SELECT dataset, count(*) AS files, sum(bytes)::bigint AS bytes
FROM lake.files WHERE status = 'current' GROUP BY 1 ORDER BY 1
"""

_INSTRUMENTS = """
SELECT coalesce(venue, %(venue)s) AS venue, asset_class, active, count(*) AS instruments
FROM market.instruments GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

# One row per venue and timeframe. A bar is overdue when the window after it is over. Calendars are not looked at, so
# instruments with sessions are not counted as late.
_NEWEST_BARS = """
WITH now AS MATERIALIZED (SELECT market.now() AS at),
series AS (
    SELECT coalesce(i.venue, %(venue)s) AS venue, t.timeframe, i.symbol, i.calendar = '24/7' AS always, n.open_time,
           extract(epoch FROM now.at - n.open_time)::float8 - t.seconds AS age,
           extract(epoch FROM now.at - n.open_time)::float8 - 2 * t.seconds AS overdue
    FROM now
    CROSS JOIN unnest(%(timeframes)s::text[], %(seconds)s::int[]) AS t (timeframe, seconds)
    CROSS JOIN market.instruments i
    LEFT JOIN LATERAL (
        SELECT o.open_time FROM market.ohlc_data o
        WHERE o.instrument_id = i.instrument_id AND o.timeframe = t.timeframe ORDER BY o.open_time DESC LIMIT 1
    ) AS n ON true
    WHERE i.active
)
SELECT venue, timeframe, count(*) AS instruments, count(open_time) AS with_bars, max(open_time) AS newest,
       CASE WHEN min(age) < 0 THEN 0 ELSE min(age) END AS age_seconds,
       CASE WHEN max(age) < 0 THEN 0 ELSE max(age) END AS oldest_age_seconds,
       (array_agg(symbol ORDER BY open_time NULLS FIRST, symbol))[1] AS oldest_symbol,
       count(*) FILTER (WHERE always AND (overdue >= %(ok)s OR open_time IS NULL)) AS late,
       count(*) FILTER (WHERE always AND (overdue >= %(critical)s OR open_time IS NULL)) AS very_late
FROM series GROUP BY venue, timeframe
"""

_STORED_BARS = """
WITH today AS MATERIALIZED (SELECT (market.now() AT TIME ZONE 'UTC')::date AS day),
sums AS (
    SELECT c.instrument_id, c.timeframe, sum(c.present)::bigint AS present, sum(c.archived)::bigint AS archived,
           sum(c.expected)::bigint AS expected, sum(c.explained)::bigint AS explained,
           sum(greatest(c.expected - c.present - c.explained, 0))::bigint AS missing,
           coalesce(sum(c.expected) FILTER (WHERE c.day >= t.day - 1), 0)::bigint AS expected_2d,
           coalesce(sum(least(c.present + c.explained, c.expected)) FILTER (WHERE c.day >= t.day - 1), 0)::bigint
               AS accounted_2d,
           coalesce(sum(c.expected) FILTER (WHERE c.day >= t.day - 6), 0)::bigint AS expected_7d,
           coalesce(sum(least(c.present + c.explained, c.expected)) FILTER (WHERE c.day >= t.day - 6), 0)::bigint
               AS accounted_7d
    FROM market.coverage c CROSS JOIN today t GROUP BY 1, 2
)
SELECT coalesce(i.venue, %(venue)s) AS venue, s.timeframe, sum(present)::bigint AS present,
       sum(archived)::bigint AS archived, sum(expected)::bigint AS expected, sum(explained)::bigint AS explained,
       sum(missing)::bigint AS missing,
       sum(expected_2d)::bigint AS expected_2d, sum(accounted_2d)::bigint AS accounted_2d,
       sum(expected_7d)::bigint AS expected_7d, sum(accounted_7d)::bigint AS accounted_7d
FROM sums s JOIN market.instruments i USING (instrument_id)
WHERE i.active GROUP BY 1, 2
"""

_GAPS = """
SELECT state, count(*) AS gaps, sum(bars)::bigint AS bars,
       extract(epoch FROM market.now() - min(start_time))::float8 AS oldest_age_seconds
FROM market.gaps WHERE closed_at IS NULL GROUP BY state ORDER BY state
"""

_SERIES = """
SELECT c.timeframe, min(c.day) FILTER (WHERE c.present > 0) AS first_day,
       max(c.day) FILTER (WHERE c.present > 0) AS last_day, sum(c.present)::bigint AS bars,
       sum(c.archived)::bigint AS archived, sum(c.expected)::bigint AS expected,
       sum(c.explained)::bigint AS explained,
       sum(greatest(c.expected - c.present - c.explained, 0))::bigint AS missing,
       (SELECT max(o.open_time) FROM market.ohlc_data o
        WHERE o.instrument_id = %(id)s AND o.timeframe = c.timeframe) AS newest
FROM market.coverage c WHERE c.instrument_id = %(id)s GROUP BY c.timeframe
"""

_INSTRUMENT = """
SELECT instrument_id AS id, symbol, asset_class, active, coalesce(venue, %(venue)s) AS venue
FROM market.instruments WHERE symbol = %(symbol)s
"""

_SYMBOLS = """
SELECT symbol FROM market.instruments
WHERE active AND (%(classes)s::text[] IS NULL OR asset_class = ANY(%(classes)s)) ORDER BY symbol
"""

_JOBS = """
SELECT job, succeeded, runs, seconds, rows, bars_made, gaps_found, gaps_filled, last_started, last_seconds
FROM ops.job_totals ORDER BY job, succeeded LIMIT 400
"""

_ALERTS = """
SELECT s.severity, count(a.id) FILTER (WHERE a.resolved_at IS NULL) AS open,
       count(a.id) + coalesce(max(r.alerts), 0) AS opened
FROM unnest(ARRAY['critical', 'error', 'warning', 'info']) WITH ORDINALITY AS s (severity, place)
LEFT JOIN ops.alerts a USING (severity)
LEFT JOIN ops.alerts_removed r USING (severity)
GROUP BY s.severity, s.place ORDER BY s.place
"""

_MESSAGES = """
SELECT channel, kind, sum(sent)::bigint AS sent, sum(waiting)::bigint AS waiting
FROM (SELECT channel, kind, count(*) FILTER (WHERE state = 'sent') AS sent,
             count(*) FILTER (WHERE state <> 'sent' AND folded_into IS NULL) AS waiting
      FROM ops.outbox GROUP BY 1, 2
      UNION ALL SELECT channel, kind, messages, 0 FROM ops.messages_removed) AS m
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 200
"""

_HEARTBEATS = """
SELECT name, holder, started, beat, extract(epoch FROM clock_timestamp() - beat)::float8 AS age_seconds, detail
FROM ops.heartbeats ORDER BY name LIMIT 500
"""

_LEASES = """
SELECT name, holder, expires_at > clock_timestamp() AS held, acquired_at, waiting,
       greatest(0, extract(epoch FROM expires_at - clock_timestamp()))::float8 AS seconds_left
FROM ops.leases ORDER BY name LIMIT 500
"""

_BUDGETS = """
SELECT venue, floor(window_limit * share)::int AS allowed, window_seconds, weight_total,
       CASE WHEN window_index >= floor((extract(epoch FROM clock_timestamp()) - phase) / window_seconds) THEN used
            ELSE 0 END AS used,
       coalesce(greatest(0, extract(epoch FROM paused_until - clock_timestamp())), 0)::float8 AS paused_seconds
FROM ops.venue_budgets ORDER BY venue LIMIT 200
"""

_FEATURES = """
SELECT max(open_time) AS newest, extract(epoch FROM market.now() - max(open_time))::float8 AS age_seconds
FROM research.ml_features_live
"""

_VIEWS = """
SELECT name, rows, seconds, extract(epoch FROM clock_timestamp() - refreshed_at)::float8 AS age_seconds
FROM ops.view_refreshes ORDER BY name
"""


def read_over(connections: Connections, work: Callable[[psycopg.Connection[Any]], T]) -> T:
    """What ``work`` reads over a kept connection, repeated while PostgreSQL is down.

    Unlike ``Connections.run`` it learns at once that no server listens. Raises StoreError, and psycopg's errors that
    need no other words.
    """

    def attempt() -> T:
        with connections.reading() as connection:
            return work(connection)

    try:
        try:  # the first attempt without the set-up of the retry rule, which is slow
            return attempt()
        except psycopg.Error as error:
            if not is_transient(error):
                raise
        return retrying(attempt, connections.patience)
    except psycopg.Error as error:
        said = explained(error, connections.url, connections.patience)
        if said is error:
            raise
        raise said from error


def dict_rows(connections: Connections, query: str, given: Mapping[str, Any] | None = None) -> Rows:
    """The rows of ``query`` as dictionaries. Raises as ``read_over``."""

    def read(connection: psycopg.Connection[Any]) -> Rows:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, given).fetchall()

    return read_over(connections, read)


class MetricsScrape:
    """Reads the figures. Thread-safe. ``venue``: of instruments that were stored before instruments named theirs.

    Every method raises StoreError when the database does not answer, and QueryTooLongError when the statement timeout
    of the connections ends it.
    """

    def __init__(self, connections: Connections, venue: str) -> None:
        self._connections, self._venue = connections, venue

    def database(self) -> dict[str, Any]:
        """``version``, ``size_bytes``, ``read_only``, ``connections``, ``connections_max``, ``uptime_seconds``."""
        return self._rows(_DATABASE)[0]

    def instruments(self) -> Rows:
        """Numbers of instruments by ``venue``, ``asset_class`` and ``active``."""
        return self._rows(_INSTRUMENTS, {"venue": self._venue})

    def newest_bars(self, late_after: float, very_late_after: float) -> Rows:
        """The newest bars by ``venue`` and ``timeframe``, by the market's clock.

        ``age_seconds`` is the time since the end of the newest bar of any instrument, ``oldest_age_seconds`` of the
        instrument that lags most (``oldest_symbol``). ``late`` and ``very_late`` count instruments that trade at all
        hours whose next bar is overdue for so many seconds.
        """
        given = {
            "venue": self._venue, "timeframes": [str(each) for each in Timeframe],
            "seconds": [each.seconds for each in Timeframe], "ok": late_after, "critical": very_late_after,
        }  # fmt: skip
        return _by_width(self._rows(_NEWEST_BARS, given))

    def stored_bars(self) -> Rows:
        """Sums of coverage over active instruments by ``venue`` and ``timeframe``.

        ``present`` (``archived`` among them), ``expected``, ``explained`` and ``missing`` over all days; ``expected``
        and ``accounted`` over the running UTC day and the one before (``_2d``) and over seven days (``_7d``).
        """
        return _by_width(self._rows(_STORED_BARS, {"venue": self._venue}))

    def mirror(self) -> Rows:
        """Current files of the mirror by ``dataset``: ``files``, ``bytes``."""
        return self._rows(_MIRROR)

    def gaps(self) -> Rows:
        """Open rows of the ledger by ``state``: ``gaps``, ``bars``, ``oldest_age_seconds``."""
        return self._rows(_GAPS)

    def instrument(self, symbol: str) -> dict[str, Any] | None:
        """``id``, ``symbol``, ``asset_class``, ``active`` and ``venue`` of one instrument; None if it is unknown."""
        found = self._rows(_INSTRUMENT, {"symbol": symbol, "venue": self._venue})
        return found[0] if found else None

    def symbols(self, classes: Sequence[str] | None = None) -> list[str]:
        """Collected instruments; with ``classes`` those of these asset classes."""
        given = {"classes": None if classes is None else list(classes)}
        return [row["symbol"] for row in self._rows(_SYMBOLS, given)]

    def venues(self) -> list[str]:
        """Venues of the collected instruments."""
        return list(dict.fromkeys(row["venue"] for row in self.instruments() if row["active"]))

    def now(self) -> datetime:
        """The market's time, UTC."""
        moment: datetime = self._rows("SELECT market.now() AS now")[0]["now"]
        return moment

    def ping(self) -> float:
        """Seconds that the database takes to answer."""
        began = time.perf_counter()
        self._rows("SELECT 1")
        return time.perf_counter() - began

    def series(self, instrument_id: int) -> Rows:
        """Per timeframe of one instrument: days, ``bars``, ``expected``, ``explained``, ``missing``, ``newest``."""
        return _by_width(self._rows(_SERIES, {"id": instrument_id}))

    def jobs(self) -> Rows:
        """Sums over all runs of each job, one row for those that succeeded and one for those that failed."""
        return self._rows(_JOBS)

    def alerts(self) -> Rows:
        """By ``severity``: how many are ``open``, and how many were ever ``opened``."""
        return self._rows(_ALERTS)

    def messages(self) -> Rows:
        """By ``channel`` and ``kind``: messages that were ever ``sent``, and those ``waiting``."""
        return self._rows(_MESSAGES)

    def heartbeats(self) -> Rows:
        """Heartbeats of processes with their ``age_seconds``."""
        return self._rows(_HEARTBEATS)

    def leases(self) -> Rows:
        """Leases, whether they are ``held``, and for how many seconds more."""
        return self._rows(_LEASES)

    def budgets(self) -> Rows:
        """By venue: weight ``used`` and ``allowed`` in this window, ``weight_total``, ``paused_seconds`` to come."""
        return self._rows(_BUDGETS)

    def features(self) -> dict[str, Any]:
        """``newest`` row of features and its ``age_seconds``; both None where there are no features."""
        return self._rows(_FEATURES)[0]

    def views(self) -> Rows:
        """Materialized views: ``rows``, ``age_seconds``, and the ``seconds`` of their last refresh."""
        return self._rows(_VIEWS)

    def _rows(self, query: str, given: Mapping[str, Any] | None = None) -> Rows:
        return dict_rows(self._connections, query, given)


def _by_width(rows: Rows) -> Rows:
    places = {str(timeframe): place for place, timeframe in enumerate(Timeframe)}
    return sorted(rows, key=lambda row: (row.get("venue", ""), places.get(row["timeframe"], len(places))))
