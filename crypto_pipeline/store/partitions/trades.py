"""The daily partitions of ``market.trades``: made on demand, and dropped as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

_LOCK_SPACE = 0x74726164  # "trad"


def drop_before(connection: psycopg.Connection[Any], day: date) -> list[date]:
    """Drop the partitions of days before ``day`` (UTC); return these days."""
    dropped = []
    for name in partitions(connection):
        of = datetime.strptime(name.removeprefix("trades_"), "%Y_%m_%d").replace(tzinfo=UTC).date()
        if of < day:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS market.{}").format(sql.Identifier(name)))
            dropped.append(of)
    note_removed(connection, dropped)
    return dropped


def note_removed(connection: psycopg.Connection[Any], gone: Sequence[date]) -> None:
    """Record days that were removed on purpose: for other days, live bars prove that trades must exist."""
    connection.execute(
        "INSERT INTO market.trade_days_removed (day) SELECT unnest(%s::date[]) ON CONFLICT DO NOTHING", [list(gone)]
    )


def note_returned(connection: psycopg.Connection[Any], day: date) -> None:
    """Record that the day's trades were restored from the archive."""
    connection.execute("DELETE FROM market.trade_days_removed WHERE day = %s", [day])


def _name(day: int) -> str:
    return f"trades_{_date(day):%Y_%m_%d}"


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def partitions(connection: psycopg.Connection[Any]) -> list[str]:
    """Names of the existing daily partitions, oldest first."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid "
        "WHERE h.inhparent = 'market.trades'::regclass ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def days(connection: psycopg.Connection[Any]) -> list[date]:
    """Days with a partition, oldest first."""
    return [date(*map(int, name.removeprefix("trades_").split("_"))) for name in partitions(connection)]


def ensure_day(connection: psycopg.Connection[Any], day: int) -> None:
    """Make the partition of a day (since 1970) as a separate table and attach it, without blocking other sessions."""
    name = _name(day)
    if name in partitions(connection):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, day])
    if name in partitions(connection):
        return
    apart = sql.Identifier("market", name)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE market.trades INCLUDING DEFAULTS)").format(apart))
    connection.execute(
        sql.SQL('ALTER TABLE {} ADD PRIMARY KEY (instrument_id, "time", trade_id, venue_id)').format(apart)
    )
    bounds = [f"{_date(day)} 00:00:00+00", f"{_date(day + 1)} 00:00:00+00"]
    connection.execute(
        sql.SQL("ALTER TABLE market.trades ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            apart, *map(sql.Literal, bounds)
        )
    )
