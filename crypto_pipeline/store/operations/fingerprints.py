"""The database's part of backups: a snapshot, with the number of rows and a hash of every table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.archive import catalogue
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.sessions.locks import lock_session
from crypto_pipeline.store.database.sessions.pooler import direct_url
from crypto_pipeline.store.operations import proof_rotation, statistics
from crypto_pipeline.store.schema.migrations import applied_on
from crypto_pipeline.store.views.views import CATALOG_LOCK

# Tables with rows of ours: no partitioned parents, and no tables of the system, of sessions or of extensions.
_TABLES = """
SELECT n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT starts_with(n.nspname, 'pg_')
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

# Independent of the order of rows; every row is unique by its key, so no two hashes cancel out.
_FINGERPRINT = "SELECT count(*), coalesce(bit_xor(hash_record_extended(t.*, 0)), 0) FROM {} AS t"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Number of rows of a table, and a hash of them (None if a column's type has no hash)."""

    rows: int
    hash: int | None


@dataclass(frozen=True, slots=True)
class Frozen:
    """A snapshot of a database, valid within the block of ``frozen``."""

    connection: psycopg.Connection[Any]
    #: Name of the snapshot, for other connections and for pg_dump.
    snapshot: str
    server_version: int

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Fingerprints of all tables by ``schema.table``."""
        return fingerprints(self.connection)

    def faults(self, now: datetime, trades_since: date) -> list[str]:
        """Rows that tables, archive catalogue or ledger lack according to counts elsewhere, in words; empty: none."""
        return proof_rotation.everything(self.connection, now, trades_since)

    def migrations(self) -> list[str]:
        """Ids of the applied migrations."""
        return applied_on(self.connection)

    def archive(self) -> list[ArchiveFile]:
        """The current files of the archive."""
        return catalogue.find(self.connection, statuses=("current", "verified"))


@contextmanager
def frozen(url: str) -> Iterator[Frozen]:
    """A snapshot of the database at ``url``; within the block views are not replaced and no table is dropped.

    Waits for a running refresh of a view, and for another holder of such a snapshot.
    """
    with connect(direct_url(url), autocommit=True) as connection:
        lock_session(connection, CATALOG_LOCK)
        tables = connection.execute(_TABLES).fetchall()
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if tables:
            # locked before the snapshot, so that its tables cannot be dropped
            names = sql.SQL(", ").join(sql.Identifier(*name) for name in tables)
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        yield Frozen(connection, row[0], connection.info.server_version // 10_000)


def fingerprints(connection: psycopg.Connection[Any]) -> dict[str, Fingerprint]:
    """Fingerprints by ``schema.table`` of all tables that the connection's transaction sees."""
    found = {}
    for schema, table in connection.execute(_TABLES).fetchall():
        found[f"{schema}.{table}"] = _fingerprint(connection, sql.Identifier(schema, table))
    return found


def _fingerprint(connection: psycopg.Connection[Any], table: sql.Identifier) -> Fingerprint:
    try:
        with connection.transaction():
            row = connection.execute(sql.SQL(_FINGERPRINT).format(table)).fetchone()
    except psycopg.errors.UndefinedFunction:  # a column of a type that cannot be hashed, like json
        row = connection.execute(sql.SQL("SELECT count(*), NULL FROM {}").format(table)).fetchone()
    assert row is not None
    return Fingerprint(row[0], row[1])


def move_archive(connection: psycopg.Connection[Any], before: str, after: str) -> int:
    """Change the URL of the catalogue's files; return their number."""
    statement = "UPDATE market.archive_files SET base_url = %s WHERE base_url = %s"
    return connection.execute(statement, [after, before]).rowcount


def is_empty(connection: psycopg.Connection[Any]) -> bool:
    """Whether the database has no tables of ours."""
    return not connection.execute(_TABLES).fetchall()


def analyze(connection: psycopg.Connection[Any]) -> None:
    """Gather statistics of all tables; call it outside of a transaction."""
    for statement in statistics.statements(connection):
        connection.execute(statement)
