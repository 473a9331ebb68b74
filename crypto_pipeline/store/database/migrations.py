"""The schema: numbered plain-SQL files in ``sql/``, applied forward only, each whole or not at all.

yoyo keeps the books (which file was applied when, in ``_yoyo_migration``), and we hold an advisory lock around it. A
file is applied and noted in one transaction, so a kill at any moment leaves nothing half done.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import psycopg

from crypto_pipeline.store.database.connect import (
    MissingDatabaseError,
    address,
    connect,
    database_name,
    ensure_databases,
)
from crypto_pipeline.store.database.errors import StoreError

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
    package = Path(__file__).resolve().parents[2]
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
            f"database {database_name(url)!r} at {address(url)} has schema {unknown[-1]}, newer than this version "
            "knows: upgrade crypto-pipeline"
        )
    return {name: path for name, path in known.items() if name not in done}


def _applied(connection: psycopg.Connection) -> list[str]:
    try:
        rows = connection.execute("SELECT migration_id FROM _yoyo_migration ORDER BY applied_at_utc, migration_id")
    except psycopg.errors.UndefinedTable:
        return []
    return [row[0] for row in rows]


def _apply(url: str, todo: dict[str, Path]) -> list[str]:
    if not todo:
        return []
    try:
        from crypto_pipeline.store.database.yoyo_backend import Backend, WholeFile
    except ImportError:
        raise StoreError(
            "this database needs migrations, which a reader-only installation cannot apply: "
            "`pip install 'crypto-pipeline[server]'`"
        ) from None
    place = f"database {database_name(url)!r} at {address(url)}"
    with Backend(url) as backend:
        doing = "bookkeeping"
        try:
            backend.ensure_internal_schema_updated()
            for name, path in todo.items():
                doing = name
                backend.apply_whole(WholeFile(path))
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"this user may not apply migration {doing} to {place} ({_first_line(error)}): make it the owner of "
                f'the database, `ALTER DATABASE "{database_name(url)}" OWNER TO …`'
            ) from error
        except psycopg.Error as error:
            raise StoreError(
                f"migration {doing} failed on {place}: {_first_line(error)}; nothing of it was applied"
            ) from error
    return list(todo)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]
