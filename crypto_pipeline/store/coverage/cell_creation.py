"""Making cells that are missing and holding all of them, beside retention, which takes cells away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from crypto_pipeline.store.database.errors import StoreError

#: So often cells that were deleted meanwhile are made again.
_ROUNDS = 10


def make_and_hold(
    connection: psycopg.Connection[Any], add: str, lock: str, parameters: Mapping[str, Any], count: int, what: str
) -> list[Any]:
    """The rows of the statement ``lock``, ``count`` of them, after ``add`` made those that were missing.

    Raises StoreError, which names ``what`` the cells are of, when they are deleted all the time.
    """
    for _ in range(_ROUNDS):
        connection.execute(add, parameters)
        rows = connection.execute(lock, parameters).fetchall()
        if len(rows) == count:
            return rows
        # Retention took cells away between both statements; the next round sees that they are gone.
    raise StoreError(f"cells of {what} are deleted again and again while they are written")
