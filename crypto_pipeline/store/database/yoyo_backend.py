"""yoyo, adapted: one connection read from our URL, no lock row that outlives a kill, whole files as single steps."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, MigrationStep

from crypto_pipeline.store.database.connect import connect, plain_url

TABLE = "_yoyo_migration"


class Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's books in the database behind ``url``. The caller holds a lock."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(parse_uri(plain_url(url)), TABLE)

    def connect(self, dburi: Any) -> psycopg.Connection:
        """Connect as libpq reads the URL, which knows more options than yoyo's own reading."""
        return connect(self._url)

    def lock(self, timeout: float = 10) -> AbstractContextManager[None]:
        """Nothing: yoyo's row would stay for ever after a SIGKILL."""
        return nullcontext()

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """Who did it. The original asks the name server, which may take seconds, and fails for users without a name."""
        return {
            "id": str(uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": _user(),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }

    def apply_whole(self, migration: WholeFile) -> None:
        """Apply the file and note it, in one transaction (yoyo's own way leaves a gap in which a kill is fatal)."""
        with self.transaction():
            migration.process_steps(self, "apply")
            self.mark_one(migration, log=False)
            self.log_migration(migration, "apply")


class WholeFile(Migration):  # type: ignore[misc]
    """One SQL file as one step: left whole, because a splitter stumbles over function bodies."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem, str(path), str(path.parent))
        text = path.read_text(encoding="utf-8")
        self.steps = [MigrationStep(0, lambda connection: connection.execute(text), None)]
        self._depends: set[Migration] = set()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
