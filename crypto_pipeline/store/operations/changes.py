"""Small queries that show whether something changed since they were asked before. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy

    from crypto_pipeline.store.database.pool import Connections

_INSTRUMENTS = """
SELECT count(*), count(*) FILTER (WHERE active), max(added_at), max(removed_at) FROM market.instruments"""
_RUNS = "SELECT count(*), max(update_timestamp) FROM runs"


def newest_instrument_change(connections: Connections) -> tuple[Any, ...]:
    """What differs after an instrument was added, removed or forgotten: numbers of all and of active ones, and the
    times (UTC) of the newest addition and removal. Raises StoreError.
    """
    return connections.row(_INSTRUMENTS)


def newest_run_change(connection: sqlalchemy.Connection) -> tuple[Any, ...]:
    """What differs after a run was added, deleted or changed: the number of runs and the time of the newest change.

    ``connection``: to Dagster's storage.
    """
    return tuple(connection.exec_driver_sql(_RUNS).one())
