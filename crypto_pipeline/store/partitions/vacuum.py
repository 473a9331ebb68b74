"""VACUUM, which no transaction may hold: repeated, as every other work is, while PostgreSQL is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections


def vacuum(connections: Connections, tables: Sequence[sql.Identifier], how: str) -> None:
    """``VACUUM (how)`` each of the tables; those of others are skipped by the server."""
    for table in tables:
        connections.run(_vacuum, sql.SQL("VACUUM ({}) {}").format(sql.SQL(how), table))


def _vacuum(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    connection.commit()
    connection.autocommit = True
    try:
        connection.execute(statement)
    finally:
        if not connection.closed:  # else the pool throws it away
            connection.autocommit = False
