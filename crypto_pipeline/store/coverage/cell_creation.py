"""Creation and locking of coverage cells while retention may delete cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from crypto_pipeline.store.database.errors import StoreError

#: Attempts to make cells that retention deletes meanwhile.
_ROUNDS = 10


def make_and_hold(
    connection: psycopg.Connection[Any], add: str, lock: str, parameters: Mapping[str, Any], count: int, what: str
) -> list[Any]:
    """Run ``add``, which makes missing cells, and return the ``count`` rows of the statement ``lock``.

    Raises StoreError that names ``what`` if cells are deleted during every attempt.
    """
    for _ in range(_ROUNDS):
        connection.execute(add, parameters)
        rows = connection.execute(lock, parameters).fetchall()
        if len(rows) == count:
            return rows
        # Retention deleted cells between the two statements; the next attempt makes them again.
    raise StoreError(f"cells of {what} were deleted during every attempt to write them")
