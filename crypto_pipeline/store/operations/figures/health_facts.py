"""Facts that the operational checks judge, read by a few bounded statements over one plain connection.

No frames here: the program that reads these facts every few seconds must stay small.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from crypto_pipeline.store.database.pg_errors import REFUSED_WRITE
from crypto_pipeline.store.operations.figures.model_facts import ModelInUse, read_models
from crypto_pipeline.store.operations.figures.order_facts import BrokerFact, read_orders
from crypto_pipeline.store.operations.figures.scan_facts import read_scans

#: States of gaps that explain the absence of bars (market/gaps/classification.py; a test compares).
EXPLAINED = ["no_trade", "venue_outage", "not_listed", "delisted", "unfillable"]
UNEXPLAINED = ["pending", "lost", "unproven"]

_CLOCKS = """
SELECT clock_timestamp(), market.now(), c.venue, extract(epoch FROM c.stated - c.measured_at)::float8, c.rate::float8
FROM (SELECT) AS one LEFT JOIN market.clock c ON true
"""
_HEARTBEATS = """
SELECT name, extract(epoch FROM clock_timestamp() - beat)::float8, detail FROM ops.heartbeats ORDER BY name LIMIT 500
"""
_BANS = """
SELECT venue, extract(epoch FROM paused_until - clock_timestamp())::float8 FROM ops.venue_budgets
WHERE paused_until > clock_timestamp() ORDER BY venue
"""
_CHANNELS = """
SELECT c.name, extract(epoch FROM clock_timestamp() - c.failing_since)::float8, c.last_error,
       (SELECT count(*) FROM ops.outbox o WHERE o.channel = c.name AND o.state <> 'sent' AND o.folded_into IS NULL)
FROM ops.notification_channels c ORDER BY c.name LIMIT 100
"""
# Only of series that trade at all hours: of the others the checks `freshness` know the sessions.
_SILENCE = """
SELECT i.symbol, coalesce(i.venue, ''), extract(epoch FROM m.now - greatest(
           b.open_time + interval '1 minute', e.until, i.added_at, m.now - interval '1 day'))::float8
FROM market.instruments i
CROSS JOIN (SELECT market.now() AS now) AS m
LEFT JOIN LATERAL (
    SELECT o.open_time FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.open_time >= market.now() - interval '1 day'
    ORDER BY o.open_time DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT max(g.end_time) AS until FROM market.gaps g
    WHERE g.instrument_id = i.instrument_id AND g.timeframe = '1m' AND g.closed_at IS NULL
      AND g.state = ANY(%(explained)s) AND g.end_time >= market.now() - interval '1 day'
      AND g.start_time >= market.now() - interval '30 days'
) AS e ON true
WHERE i.active AND i.calendar = '24/7' ORDER BY i.symbol
"""
# Gaps that were found a moment ago are being filled; so are those of an instrument that was just added.
_GAPS = """
SELECT i.symbol, g.timeframe, g.start_time, g.state, extract(epoch FROM market.now() - g.start_time)::float8,
       count(*) OVER ()
FROM market.gaps g JOIN market.instruments i USING (instrument_id)
WHERE g.closed_at IS NULL AND g.state IN ('pending', 'lost') AND i.active
  AND g.first_seen < clock_timestamp() - interval '15 minutes' AND i.added_at < market.now() - interval '1 hour'
ORDER BY g.start_time LIMIT 1
"""
_COVERAGE = """
SELECT d.days, coalesce(i.venue, ''), i.symbol, sum(c.expected)::bigint AS expected,
       sum(least(c.present + c.explained, c.expected))::bigint AS accounted
FROM unnest(ARRAY[1, 7]) AS d (days)
JOIN market.coverage c ON c.day >= (market.now() AT TIME ZONE 'UTC')::date - d.days
JOIN market.instruments i USING (instrument_id)
WHERE i.active AND c.archived = 0 AND c.timeframe <> '1w' AND i.added_at < market.now() - interval '1 hour'
GROUP BY d.days, i.venue, i.symbol
"""
_FEATURES = """
SELECT i.symbol, extract(epoch FROM market.now() - f.open_time)::float8 - 900
FROM market.instruments i
CROSS JOIN LATERAL (
    SELECT r.open_time FROM research.ml_features r
    WHERE r.instrument_id = i.instrument_id AND r.open_time >= market.now() - interval '7 days'
    ORDER BY r.open_time DESC LIMIT 1
) AS f
WHERE i.active AND i.calendar = '24/7' AND i.added_at < market.now() - interval '2 hours' ORDER BY 2 DESC
"""
_JOBS = """
SELECT m.job, count(*) FILTER (WHERE m.started > clock_timestamp() - interval '1 day') AS runs,
       count(*) FILTER (WHERE NOT m.succeeded AND m.started > clock_timestamp() - interval '1 day') AS failed,
       count(*) FILTER (WHERE m.id > coalesce(g.last_good, 0)) AS in_a_row
FROM ops.job_metrics m
LEFT JOIN (
    SELECT job, max(id) AS last_good FROM ops.job_metrics
    WHERE succeeded AND started > clock_timestamp() - interval '3 days' GROUP BY job
) AS g ON g.job = m.job
WHERE m.started > clock_timestamp() - interval '3 days' GROUP BY m.job ORDER BY m.job LIMIT 200
"""
_WRITE = """
INSERT INTO ops.heartbeats AS h (name, holder, started, beat, detail)
VALUES ('write_probe', %(holder)s, clock_timestamp(), clock_timestamp(), '{}')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, beat = excluded.beat
"""


@dataclass(frozen=True, slots=True)
class BarSilence:
    """Seconds for which the newest 1m bar of an instrument, or the reason for its absence, has been due."""

    instrument: str
    venue: str
    seconds: float


@dataclass(frozen=True, slots=True)
class OldestGap:
    """The oldest bars without a reason. ``seconds``: since they were due; ``gaps``: how many such gaps there are."""

    instrument: str
    timeframe: str
    start: datetime
    state: str
    seconds: float
    gaps: int


@dataclass(frozen=True, slots=True)
class CoverageShare:
    """Bars of one instrument over the last ``days`` days: ``expected``, and those present or explained."""

    days: int
    venue: str
    instrument: str
    expected: int
    accounted: int


@dataclass(frozen=True, slots=True)
class JobRuns:
    """Runs of one job: of the last day, how many of them failed, and failures since its last success."""

    job: str
    runs: int
    failed: int
    in_a_row: int


@dataclass(frozen=True, slots=True)
class ChannelFact:
    """A channel of alerts: seconds for which it has failed (None: it works), its last error, and messages that wait."""

    name: str
    failing: float | None
    error: str | None
    waiting: int


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """What the market database says of itself at one moment.

    Attributes:
        now: By the database's clock, UTC.
        market_now: By the market's clock, UTC.
        host_ahead: Seconds by which this machine's clock is ahead of the database's.
        clock_venue: The venue that last stated the market's time; None if none did.
        clock_ahead: Seconds by which that venue's clock was ahead of the database's.
        clock_rate: Seconds of the market per second.
        read_only: Why nothing can be written; None where a write succeeded.
        heartbeats: Name → (age in seconds, detail).
        bans: Venue → seconds for which it is not to be asked.
        silences: One per active instrument that trades at all hours.
        oldest_gap: None where no gap is open.
        coverage: Per instrument, over 1 and 7 days.
        features: Instrument → seconds since the close of its newest row of features.
        jobs: Runs of each job that keeps figures of itself.
        channels: The channels of alerts that were used.
        models: The models in use.
        brokers: Brokers with open positions.
        scans: Strategy → seconds since the close of the newest bar that it scanned; empty before the first pass.
    """

    now: datetime
    market_now: datetime
    host_ahead: float
    clock_venue: str | None
    clock_ahead: float | None
    clock_rate: float
    read_only: str | None
    heartbeats: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    bans: dict[str, float] = field(default_factory=dict)
    silences: tuple[BarSilence, ...] = ()
    oldest_gap: OldestGap | None = None
    coverage: tuple[CoverageShare, ...] = ()
    features: dict[str, float] = field(default_factory=dict)
    jobs: tuple[JobRuns, ...] = ()
    channels: tuple[ChannelFact, ...] = ()
    models: tuple[ModelInUse, ...] = ()
    scans: dict[str, float] = field(default_factory=dict)
    brokers: tuple[BrokerFact, ...] = ()


def read_facts(connection: psycopg.Connection[Any], holder: str, host_time: float | None = None) -> HealthFacts:
    """Read all facts. ``connection`` is in autocommit; ``host_time``: this machine's time, epoch seconds.

    Raises psycopg.Error.
    """
    before = time.time()
    now, market_now, venue, ahead, rate = _row(connection, _CLOCKS)
    host = (before + time.time()) / 2 if host_time is None else host_time
    gap = connection.execute(_GAPS).fetchone()
    return HealthFacts(
        now=now.astimezone(UTC),
        market_now=market_now.astimezone(UTC),
        host_ahead=host - now.timestamp(),
        clock_venue=venue,
        clock_ahead=ahead,
        clock_rate=1.0 if rate is None else rate,
        read_only=_write_trouble(connection, holder),
        heartbeats={name: (age, detail) for name, age, detail in connection.execute(_HEARTBEATS)},
        bans=dict(connection.execute(_BANS).fetchall()),
        silences=tuple(BarSilence(*row) for row in connection.execute(_SILENCE, {"explained": EXPLAINED})),
        oldest_gap=None if gap is None else OldestGap(*gap),
        coverage=tuple(CoverageShare(*row) for row in connection.execute(_COVERAGE)),
        features=dict(connection.execute(_FEATURES).fetchall()),
        jobs=tuple(JobRuns(*row) for row in connection.execute(_JOBS)),
        channels=tuple(ChannelFact(*row) for row in connection.execute(_CHANNELS)),
        models=read_models(connection),
        scans=read_scans(connection),
        brokers=read_orders(connection),
    )


def _write_trouble(connection: psycopg.Connection[Any], holder: str) -> str | None:
    """Why a row cannot be written; None where one was."""
    try:
        connection.execute(_WRITE, {"holder": holder})
    except REFUSED_WRITE as error:
        return str(error).strip().splitlines()[0]
    return None


def _row(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return tuple(row)
