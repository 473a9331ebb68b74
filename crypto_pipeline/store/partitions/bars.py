"""The monthly partitions of the fine timeframes: their names, and making them without blocking readers and writers.

A partition is built as a separate table and then attached, because CREATE … PARTITION OF would lock readers and writers
out of all bars of the timeframe. An advisory lock per timeframe and month lets only one process do it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe

#: Timeframes whose table is also partitioned by month.
MONTHLY = frozenset(timeframe for timeframe in Timeframe if timeframe.minutes <= 15)
_LOCK_SPACE = 0x6F686C63  # "ohlc"


def table(timeframe: Timeframe, month: int | None) -> str:
    """Name (in schema market) of the table that holds the bars; ``month`` counts from January 1970."""
    if month is None:
        return f"ohlc_{timeframe}"
    return f"ohlc_{timeframe}_{1970 + month // 12:04d}_{month % 12 + 1:02d}"


def identifier(name: str) -> sql.Identifier:
    """The quoted identifier of a table in the schema market."""
    return sql.Identifier("market", name)


def exists(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether the table exists and is committed."""
    # not to_regclass, whose answer may be from before the wait for a lock
    query = "SELECT FROM pg_class WHERE relname = %s AND relnamespace = 'market'::regnamespace"
    return connection.execute(query, [name]).fetchone() is not None


def lock(connection: psycopg.Connection[Any], timeframe: Timeframe, month: int) -> None:
    """Lock the creation and replacement of this partition until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, timeframe.minutes << 16 | month])


def ensure(connection: psycopg.Connection[Any], timeframe: Timeframe, month: int) -> None:
    """Make the partition unless it exists. Several processes may call it at once."""
    build(connection, timeframe, month, lambda apart: None)


def build(
    connection: psycopg.Connection[Any], timeframe: Timeframe, month: int, fill: Callable[[sql.Identifier], None]
) -> bool:
    """Make the partition and ``fill`` it before it is visible: key and attachment follow the rows.

    False, without a change, if it exists. Everything happens in the caller's transaction.
    """
    name = table(timeframe, month)
    if exists(connection, name):
        return False
    # before any other lock of the transaction, so that this wait cannot be part of a deadlock
    lock(connection, timeframe, month)
    if exists(connection, name):
        return False
    apart, parent = identifier(name), identifier(f"ohlc_{timeframe}")
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING COMMENTS)").format(apart, parent))
    fill(apart)
    add_key(connection, apart)
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            parent, apart, sql.Literal(_start(month).isoformat()), sql.Literal(_start(month + 1).isoformat())
        )
    )
    return True


def add_key(connection: psycopg.Connection[Any], table: sql.Identifier) -> None:
    """Add the key of a table of bars. Duplicates are superseded rows of one transaction: no use to search for them."""
    key = "ALTER TABLE {} ADD PRIMARY KEY (instrument_id, timeframe, open_time) WITH (deduplicate_items = off)"
    connection.execute(sql.SQL(key).format(table))


def _start(month: int) -> datetime:
    return datetime(1970 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
