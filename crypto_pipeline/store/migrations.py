"""The schema: numbered plain-SQL files in ``sql/``, applied forward only, each whole or not at all.

yoyo keeps the books (which file was applied when, in ``_yoyo_migration``), and we hold an advisory lock around it, because
its own lock row outlives a killed process. Applying a file and noting that are one transaction, for the same reason.
"""

from __future__ import annotations

import getpass
import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_pipeline.store.connecting import (
    MissingDatabaseError,
    address,
    connect,
    database_name,
    ensure_databases,
    plain_url,
)
from crypto_pipeline.store.errors import StoreError

if TYPE_CHECKING:
    from yoyo.migrations import Migration

_TABLE = "_yoyo_migration"
#: any number will do, as long as it stays the same
_LOCK = 0x63727970746F  # "crypto"


def migrate(url: str, folder: Path | None = None) -> list[str]:
    """Bring the database behind ``url`` to this version's schema; returns the ids that were applied, mostly none.

    Creates the database where it is missing. Any number of processes may call it at once. Raises StoreError for a
    database with a schema from a newer version. When all is applied already this is one connection and one query.
    """
    known = migration_files(folder or sql_folder())
    if not _outstanding(url, known):
        return []
    with connect(url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        todo = _outstanding(url, known)  # somebody may have been quicker
        return _apply(url, todo)


def applied(url: str) -> list[str]:
    """Ids of what was applied to the database, in order."""
    with connect(url) as connection:
        return _applied(connection)


def sql_folder() -> Path:
    """Where the migrations are: in the package once it is built, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "sql", package.parent / "sql"):
        if folder.is_dir():
            return folder
    raise StoreError(f"the schema files are missing from {package}: install crypto-pipeline again")


@lru_cache(maxsize=8)
def migration_files(folder: Path) -> dict[str, Path]:
    """Migration files by id (their name without ``.sql``), in the order in which they apply."""
    return {path.stem: path for path in sorted(folder.glob("[0-9]*.sql"))}


def _outstanding(url: str, known: dict[str, Path]) -> dict[str, Path]:
    try:
        with connect(url) as connection:
            done = _applied(connection)
    except MissingDatabaseError:
        ensure_databases(url, [database_name(url)])
        return known
    if unknown := sorted(set(done) - set(known)):
        raise StoreError(
            f"database {database_name(url)!r} at {address(url)} has schema {unknown[-1]}, newer than this version knows: "
            "upgrade crypto-pipeline"
        )
    return {name: path for name, path in known.items() if name not in done}


def _applied(connection: psycopg.Connection) -> list[str]:
    try:
        rows = connection.execute(f"SELECT migration_id FROM {_TABLE} ORDER BY applied_at_utc, migration_id")
    except psycopg.errors.UndefinedTable:
        return []
    return [row[0] for row in rows]


def _apply(url: str, todo: dict[str, Path]) -> list[str]:
    if not todo:
        return []
    backend = _backend(url)
    try:
        backend.ensure_internal_schema_updated()
        for name, path in todo.items():
            migration = _migration(name, path)
            try:
                with backend.transaction():
                    migration.process_steps(backend, "apply")
                    backend.mark_one(migration, log=True)
            except psycopg.errors.InsufficientPrivilege as error:
                raise StoreError(
                    f"migration {name} may not change database {database_name(url)!r} at {address(url)} ({_first_line(error)}): "
                    f'run `GRANT ALL ON DATABASE "{database_name(url)}"` and `GRANT ALL ON SCHEMA public` to this user'
                ) from error
            except psycopg.Error as error:
                raise StoreError(
                    f"migration {name} failed on database {database_name(url)!r} at {address(url)}: {_first_line(error)}; "
                    "nothing of it was applied"
                ) from error
    finally:
        backend.connection.close()
    return list(todo)


def _backend(url: str) -> Any:
    """yoyo's PostgreSQL backend, connected our way."""
    try:
        from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
        from yoyo.connections import parse_uri
    except ImportError:
        raise StoreError(
            "this database needs migrations, which a reader-only installation cannot apply: "
            "`pip install 'crypto-pipeline[server]'`"
        ) from None

    class Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
        """Connects with libpq's own reading of the URL; needs no lock row, and no user or host that can be looked up."""

        def connect(self, dburi: Any) -> psycopg.Connection:
            return connect(url)

        def lock(self, timeout: float = 10) -> Any:
            from contextlib import nullcontext

            return nullcontext()

        def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
            # the original asks the name server for the full host name, which may take seconds, and fails without a user
            from datetime import UTC, datetime
            from uuid import uuid4

            return {
                "id": str(uuid4()),
                "migration_id": migration.id if migration else None,
                "migration_hash": migration.hash if migration else None,
                "username": _user(),
                "hostname": socket.gethostname(),
                "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
                "operation": operation,
            }

    return Backend(parse_uri(plain_url(url)), _TABLE)


def _migration(name: str, path: Path) -> Migration:
    """One file as one step: left whole, because a splitter stumbles over function bodies."""
    from yoyo.migrations import Migration, MigrationStep

    text = path.read_text(encoding="utf-8")

    class Whole(Migration):  # type: ignore[misc]
        def load(self) -> None:
            if self.steps is None:
                self._depends = set()
                self.steps = [MigrationStep(0, lambda connection: connection.execute(text), None)]

    return Whole(name, str(path), str(path.parent))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]
