"""The planner's statistics of our tables, gathered in one short statement per table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

# Parents after their partitions. Autovacuum ignores parents.
_TABLES = """
SELECT n.nspname, c.relname, c.relkind = 'p', c.relispartition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('market', 'ops', 'research', 'trading') AND c.relkind IN ('r', 'p', 'm')
ORDER BY c.relkind = 'p', 1, 2
"""
#: Since this version a parent's statistics can be gathered without those of all its partitions.
_ONLY = 18


def statements(connection: psycopg.Connection[Any]) -> Iterator[sql.Composed]:
    """``ANALYZE`` of every table. Run each in a transaction of its own: no lock is held for long.

    Where the server is older than 18, ``ANALYZE`` of a parent includes its partitions.
    """
    alone = connection.info.server_version // 10_000 >= _ONLY
    for schema, table, parent, partition in connection.execute(_TABLES).fetchall():
        if partition and not alone:
            continue
        only = sql.SQL("ONLY " if parent and alone else "")
        yield sql.SQL("ANALYZE (SKIP_LOCKED) {}{}").format(only, sql.Identifier(schema, table))
