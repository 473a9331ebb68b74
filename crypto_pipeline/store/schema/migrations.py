"""Migrations: numbered plain-SQL files in ``sql/``, applied forward only, each one atomically.

Alembic applies them (see ``alembic_runner``) while this process holds an advisory lock. A file is applied and noted in
``crypto_pipeline_version`` in one transaction, so a process may be killed at any moment. A file that cannot run inside
a transaction (CREATE INDEX CONCURRENTLY, VACUUM) is refused by the server, and nothing of it is applied.

Older databases have the table ``_yoyo_migration`` instead. Its files count as applied, and are carried over together
with the next file that is applied.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.connect import (
    MissingDatabaseError,
    address,
    connect,
    database_name,
    ensure_databases,
)
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.sessions.locks import lock_session
from crypto_pipeline.store.database.sessions.pooler import direct_url

#: Key of the advisory lock: any fixed number.
_LOCK = 0x63727970746F  # "crypto"
#: One row per applied file. Not the usual name, because Dagster's tables have an ``alembic_version``.
VERSION_TABLE = "crypto_pipeline_version"
_OLDER_TABLE = "_yoyo_migration"
#: Length of Alembic's column.
_LONGEST_NAME = 32

_CARRY_OVER = f"""
CREATE TABLE {VERSION_TABLE} (
    version_num varchar({_LONGEST_NAME}) NOT NULL, CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)
);
INSERT INTO {VERSION_TABLE} SELECT migration_id FROM {_OLDER_TABLE}
"""  # noqa: S608  (names of ours)


def migrate(url: str, folder: Path | None = None) -> list[str]:
    """Migrate the database at ``url`` to this version's schema; return the ids that were applied, usually none.

    Creates a missing database. Any number of processes may call it at once. Raises StoreError for a schema of a newer
    version, and for a file that fails. If all files are applied already, it takes one connection and two queries.
    """
    url = direct_url(url)
    files = migration_files(folder or sql_folder())
    if not _outstanding(url, files):
        return []
    with connect(url) as connection:
        lock_session(connection, [_LOCK])
        outstanding = _outstanding(url, files)  # another process may have applied them meanwhile
        return _apply(connection, url, outstanding)


def applied(url: str) -> list[str]:
    """Ids of the applied migrations, in order."""
    with connect(url) as connection:
        return applied_on(connection)


def applied_on(connection: psycopg.Connection[Any]) -> list[str]:
    """Ids of the applied migrations, read over an open connection."""
    tables = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", [VERSION_TABLE, _OLDER_TABLE]).fetchone()
    if tables is None or tables == (None, None):
        return []
    column = "version_num" if tables[0] is not None else "migration_id"
    table = VERSION_TABLE if tables[0] is not None else _OLDER_TABLE
    names = sql.SQL("SELECT {column} FROM {table} ORDER BY {column}")
    rows = connection.execute(names.format(column=sql.Identifier(column), table=sql.Identifier(table)))
    return [row[0] for row in rows]


def sql_folder() -> Path:
    """The folder of migrations: in the built package, or beside the package in a checkout. Raises StoreError."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "sql", package.parent / "sql"):
        if folder.is_dir():
            return folder
    raise StoreError(f"the schema files are missing from {package}: install crypto-pipeline again")


@lru_cache(maxsize=8)
def migration_files(folder: Path) -> dict[str, Path]:
    """Migration files by id (their name without ``.sql``), in the order of application."""
    files = {path.stem: path for path in sorted(folder.glob("[0-9]*.sql"))}
    for name, path in files.items():
        if len(name) > _LONGEST_NAME:
            raise StoreError(f"migration {path} has a name of {len(name)} characters: shorten it to {_LONGEST_NAME}")
    return files


def _outstanding(url: str, files: dict[str, Path]) -> dict[str, Path]:
    try:
        with connect(url) as connection:
            done = applied_on(connection)
    except MissingDatabaseError:
        ensure_databases(url, [database_name(url)])
        return files
    if unknown := sorted(set(done) - set(files)):
        raise StoreError(
            f"database {database_name(url)!r} at {address(url)} has schema {unknown[-1]}, newer than this version "
            "knows: upgrade crypto-pipeline"
        )
    return {name: path for name, path in files.items() if name not in done}


def _apply(connection: psycopg.Connection[Any], url: str, files: dict[str, Path]) -> list[str]:
    """Apply ``files`` in their order; ``connection`` holds the lock."""
    if not files:
        return []
    try:
        from crypto_pipeline.store.schema.alembic_runner import runner
    except ImportError:
        raise StoreError(
            "this database needs migrations, which a reader-only installation cannot apply: "
            "`pip install 'crypto-pipeline[server]'`"
        ) from None
    place = f"database {database_name(url)!r} at {address(url)}"
    step = "carry-over of the version table"
    try:
        _carry_over(connection)
        with runner(url, VERSION_TABLE) as apply:
            for name, path in files.items():
                step = name
                apply(name, path)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"this user may not apply migration {step} to {place} ({_first_line(error)}): make it the owner of "
            f'the database, `ALTER DATABASE "{database_name(url)}" OWNER TO …`'
        ) from error
    except psycopg.Error as error:
        raise StoreError(
            f"migration {step} failed on {place}: {_first_line(error)}; nothing of it was applied"
        ) from error
    return list(files)


def _carry_over(connection: psycopg.Connection[Any]) -> None:
    """Make the current version table in a database that has only the older one, with the same rows."""
    tables = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", [VERSION_TABLE, _OLDER_TABLE]).fetchone()
    if tables is not None and tables[0] is None and tables[1] is not None:
        with connection.transaction():
            connection.execute(_CARRY_OVER)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]
