"""Applies SQL files by Alembic: each file is one revision, applied and noted in one transaction.

Alembic is used without an environment folder. Its revisions are made here from the files, and do not depend on each
other: the version table has one row for each file that was applied. So a file with a lower number than the newest one
is still applied, and nothing but the table decides what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy
from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
from alembic.script import Script
from alembic.script.revision import RevisionMap
from sqlalchemy.pool import NullPool

from crypto_pipeline.store.database.connect import connect

#: Earlier versions of this program read this table, to see that a database is newer than they are.
_NOTE_FOR_OLDER_PROGRAMS = """
DO $$ BEGIN
    IF to_regclass('_yoyo_migration') IS NOT NULL THEN
        INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)
        VALUES (md5('{name}'), '{name}', now() AT TIME ZONE 'UTC') ON CONFLICT DO NOTHING;
    END IF;
END $$
"""


@contextmanager
def runner(url: str, version_table: str) -> Iterator[Callable[[str, Path], None]]:
    """A function that applies one file and notes its name in ``version_table``, both or neither.

    It raises what psycopg raises. The caller holds the lock.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(url, autocommit=False), poolclass=NullPool
    )

    def apply(name: str, path: Path) -> None:
        try:
            _context(connection, version_table, name, path).run_migrations()
        except sqlalchemy.exc.DBAPIError as error:
            if error.orig is None:
                raise
            raise error.orig from error

    with engine.connect() as connection:
        yield apply


def _context(connection: sqlalchemy.Connection, version_table: str, name: str, path: Path) -> MigrationContext:
    script = _revision(connection, name, path)
    revisions = RevisionMap(lambda: iter([script]))
    assert revisions.heads == (name,)  # reading them completes the revision

    def missing(applied: Sequence[str], context: MigrationContext) -> list[RevisionStep]:
        return [] if name in applied else [RevisionStep(revisions, script, is_upgrade=True)]

    def note(*, step: MigrationInfo, **_: Any) -> None:
        _run_whole(connection, _NOTE_FOR_OLDER_PROGRAMS.format(name=name.replace("'", "''")))

    return MigrationContext.configure(
        connection,
        opts={
            "fn": missing,
            "transaction_per_migration": True,
            "version_table": version_table,
            "on_version_apply": (note,),
        },
    )


def _revision(connection: sqlalchemy.Connection, name: str, path: Path) -> Script:
    text = path.read_text(encoding="utf-8")
    module = ModuleType(name, path.name)
    vars(module).update(revision=name, down_revision=None, upgrade=lambda: _run_whole(connection, text))
    return Script(module, name, str(path))


def _run_whole(connection: sqlalchemy.Connection, text: str) -> None:
    """Run a text of several statements, unsplit, because function bodies have semicolons too."""
    connection.exec_driver_sql(text, execution_options={"no_parameters": True})
