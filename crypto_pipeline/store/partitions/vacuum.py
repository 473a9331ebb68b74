"""VACUUM, which cannot run in a transaction; repeated while PostgreSQL is down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections


def vacuum(connections: Connections, tables: Sequence[sql.Identifier], how: str) -> None:
    """Run ``VACUUM (how)`` on each table; the server skips tables of other owners."""
    for table in tables:
        connections.run(_vacuum, sql.SQL("VACUUM ({}) {}").format(sql.SQL(how), table))


def _vacuum(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    connection.commit()
    connection.autocommit = True
    try:
        connection.execute(statement)
    finally:
        if not connection.closed:  # the pool discards a closed one
            connection.autocommit = False
