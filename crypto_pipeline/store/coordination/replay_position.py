"""Positions in PostgreSQL's log: how far the primary is, and up to where a streaming replica has replayed it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

#: Position of a primary in bytes, and its time; the position is null on a replica.
# A commit is visible only after its record is in the log: what is visible now is before this position.
PRIMARY_POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8 END,
       clock_timestamp()
"""
#: Position that a replica has replayed (null on a primary), its newest commit, and the seconds since then.
REPLAYED_POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::int8 END,
       pg_last_xact_replay_timestamp(),
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
"""


@dataclass(frozen=True, slots=True)
class ReplayedPosition:
    """What a replica has replayed: the position in the log, and its newest commit.

    Attributes:
        position: Bytes from the begin of the log.
        committed: When that commit was made, by the primary's clock (UTC); None before the first one.
        age: Seconds since then by the replica's clock.
    """

    position: int
    committed: datetime | None
    age: float | None


def primary_position(connections: Connections) -> tuple[int, datetime]:
    """Position of the primary in bytes, and the time by its clock (UTC). Raises StoreError, also for a replica."""
    position, moment = connections.row(PRIMARY_POSITION)
    if position is None:
        raise StoreError("database_url leads to a replica: it must lead to the primary server")
    return int(position), moment


def replayed_position(connections: Connections) -> ReplayedPosition:
    """What a replica has replayed. Raises StoreError, also for a server that replays nothing."""
    position, committed, age = connections.row(REPLAYED_POSITION)
    if position is None:
        raise StoreError("the server for reads replays no other one: it is no streaming replica, or was promoted")
    return ReplayedPosition(int(position), committed, age)
