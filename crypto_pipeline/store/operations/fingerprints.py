"""The database's side of backups: one frozen moment, and what is in it in few words: rows and a hash of every table."""

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
from crypto_pipeline.store.operations import proof_rotation
from crypto_pipeline.store.schema.migrations import applied_on
from crypto_pipeline.store.views.views import CATALOG_LOCK

# Tables that hold rows: no partitioned parents, nothing of the system's, of sessions or of extensions.
_TABLES = """
SELECT n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT starts_with(n.nspname, 'pg_')
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

# Independent of the order of rows; every row of ours is unique by its key, so none cancels another.
_FINGERPRINT = "SELECT count(*), coalesce(bit_xor(hash_record_extended(t.*, 0)), 0) FROM {} AS t"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of one table: how many rows, and a hash of all of them (None where a column has a type without hash)."""

    rows: int
    hash: int | None


@dataclass(frozen=True, slots=True)
class Frozen:
    """A database as it is at one moment, for as long as the block of ``frozen`` lasts."""

    connection: psycopg.Connection[Any]
    #: Name of the snapshot, for other connections and for pg_dump.
    snapshot: str
    server_version: int

    def fingerprints(self) -> dict[str, Fingerprint]:
        """``schema.table`` → fingerprint, of every table."""
        return fingerprints(self.connection)

    def faults(self, now: datetime, trades_since: date) -> list[str]:
        """What tables, archive catalogue or ledger lack of what is counted elsewhere, in words; empty: nothing."""
        return proof_rotation.everything(self.connection, now, trades_since)

    def migrations(self) -> list[str]:
        """Ids of the migrations applied."""
        return applied_on(self.connection)

    def archive(self) -> list[ArchiveFile]:
        """Files that the catalogue relies on."""
        return catalogue.find(self.connection, statuses=("current", "verified"))


@contextmanager
def frozen(url: str) -> Iterator[Frozen]:
    """One snapshot of the database behind ``url``; meanwhile views keep their identity and no table is dropped.

    Waits for a refresh of a view that is under way, and for another holder of such a moment.
    """
    with connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", CATALOG_LOCK)
        tables = connection.execute(_TABLES).fetchall()
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if tables:
            # before the snapshot is taken: what it shows can then not go away
            names = sql.SQL(", ").join(sql.Identifier(*name) for name in tables)
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        yield Frozen(connection, row[0], connection.info.server_version // 10_000)


def fingerprints(connection: psycopg.Connection[Any]) -> dict[str, Fingerprint]:
    """``schema.table`` → fingerprint, of every table that the connection's transaction sees."""
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
    """Have the catalogue look for its files at another URL; returns how many."""
    statement = "UPDATE market.archive_files SET base_url = %s WHERE base_url = %s"
    return connection.execute(statement, [after, before]).rowcount


def is_empty(connection: psycopg.Connection[Any]) -> bool:
    """Whether nobody has put anything into the database yet."""
    return not connection.execute(_TABLES).fetchall()


def analyze(connection: psycopg.Connection[Any]) -> None:
    """Statistics of every table; to be called outside of a transaction."""
    connection.execute("ANALYZE")
