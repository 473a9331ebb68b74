"""A new table of a month: built and checked as a separate table, then exchanged with the one in use."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.partitions import bars, swap
from crypto_pipeline.store.partitions.span import Span

_CHECK = "of_this_month"


def begin(connection: psycopg.Connection[Any], span: Span) -> sql.Identifier:
    """Make an empty table without a key for the span, separate from its partition."""
    new = bars.identifier(span.table + swap.COMING)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(new))
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING COMMENTS)").format(
            new, bars.identifier(span.parent)
        )
    )
    return new


def finish(connection: psycopg.Connection[Any], span: Span) -> None:
    """Add the key, and a constraint for ATTACH, which would otherwise read the whole table under an exclusive lock."""
    new = bars.identifier(span.table + swap.COMING)
    bars.add_key(connection, new)
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ADD CONSTRAINT {} CHECK (timeframe = {} AND open_time >= {} AND open_time < {})"
        ).format(
            new,
            sql.Identifier(_CHECK),
            sql.Literal(str(span.timeframe)),
            sql.Literal(span.start.isoformat()),
            sql.Literal(span.end.isoformat()),
        )
    )


def take_place(connection: psycopg.Connection[Any], span: Span) -> None:
    """Exchange the two tables, as the last step of a transaction that holds the span. Raises LockNotAvailable if
    another session holds a lock.
    """
    swap.replace_partition(connection, span, span.table + swap.COMING)
    table = bars.identifier(span.table)
    connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(_CHECK)))
