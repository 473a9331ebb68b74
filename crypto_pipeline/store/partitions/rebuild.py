"""A month's table built beside the one in use, whole and checked, to take its place in an instant."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.partitions import bars, swap
from crypto_pipeline.store.partitions.span import Span

_CHECK = "of_this_month"


def begin(connection: psycopg.Connection[Any], span: Span) -> sql.Identifier:
    """An empty table without a key, beside the span's own."""
    new = bars.identifier(span.table + swap.COMING)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(new))
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING COMMENTS)").format(
            new, bars.identifier(span.parent)
        )
    )
    return new


def finish(connection: psycopg.Connection[Any], span: Span) -> None:
    """The key, and a proof for ATTACH, which would else read the whole table with everyone kept out of it."""
    new = bars.identifier(span.table + swap.COMING)
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (instrument_id, timeframe, open_time)").format(new))
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
    """Swap the two, as the last thing of a transaction that holds the span. Raises LockNotAvailable when somebody is in
    the way.
    """
    swap.replace_partition(connection, span, span.table + swap.COMING)
    table = bars.identifier(span.table)
    connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(_CHECK)))
