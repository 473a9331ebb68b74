"""Checks all tables in turn: some rows per round, the table with the oldest check first, faulty tables in each
round.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations import table_proof
from crypto_pipeline.store.operations.table_proof import Proven

_LAST = "SELECT table_name, proven_at, fault FROM ops.table_proofs"
_NOTE = """
INSERT INTO ops.table_proofs (table_name, rows, fault) VALUES (%(table)s, %(rows)s, %(fault)s)
ON CONFLICT (table_name) DO UPDATE SET proven_at = clock_timestamp(), rows = excluded.rows, fault = excluded.fault
"""
_FORGET = "DELETE FROM ops.table_proofs WHERE table_name <> ALL(%s)"
_ALTOGETHER = "SELECT count(*), coalesce(sum(rows), 0)::bigint, min(proven_at) FROM ops.table_proofs"


#: Time of a table that was never proven: it sorts before all proven ones, but after those with a fault.
_NEVER: tuple[bool, datetime] = (False, datetime(1, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class TableProof:
    """Result of one round. ``faults``: all known faults in words; empty if every table has its counted rows.

    ``proven`` and ``rows_read`` count this round; ``tables`` and ``rows`` all proofs, the oldest from ``oldest`` (UTC).
    """

    faults: list[str]
    proven: int
    rows_read: int
    tables: int
    rows: int
    oldest: datetime | None


class TableProofs:
    """Checks the tables of a database and stores the results. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def round(self, now: datetime, trades_since: date, rows: int) -> TableProof:
        """Prove tables of about ``rows`` rows in total, at least one table, and run the fast checks of all others.

        ``now`` and ``trades_since`` (the first day whose trades are kept) are in UTC.
        """
        last = self._connections.run(_last)
        there = self._connections.run(table_proof.tables)
        proven: list[Proven] = []
        for table in sorted(there, key=lambda name: last.get(name, _NEVER)):
            if proven and rows <= 0 and last.get(table, _NEVER)[0]:
                break
            rows -= there[table]
            found = self._connections.run(_proven, table)
            if found is not None:
                proven.append(found)
                self._connections.run(_note, found)
        self._connections.run(lambda connection: connection.execute(_FORGET, [list(there)]) and None)
        others = self._connections.run(table_proof.absent)
        others += self._connections.run(table_proof.tradeless, trades_since, now, 2)
        count, total, oldest = self._connections.row(_ALTOGETHER)
        faults = [fault for fault in self._connections.run(_faults) if fault]
        return TableProof(others + faults, len(proven), sum(one.rows for one in proven), count, total, oldest)


def everything(connection: psycopg.Connection[Any], now: datetime, trades_since: date) -> list[str]:
    """Faults of all tables in the caller's snapshot; empty if there are none. Reads every row."""
    proven = [table_proof.prove(connection, table) for table in table_proof.tables(connection)]
    found = [one.fault for one in proven if one.fault]
    return table_proof.absent(connection) + table_proof.tradeless(connection, trades_since, now) + found


def _last(connection: psycopg.Connection[Any]) -> dict[str, tuple[bool, datetime]]:
    rows = connection.execute(_LAST).fetchall()
    return {name: (fault is None, at) for name, at, fault in rows}


def _faults(connection: psycopg.Connection[Any]) -> list[str]:
    rows = connection.execute("SELECT fault FROM ops.table_proofs WHERE fault IS NOT NULL ORDER BY table_name")
    return [fault for (fault,) in rows.fetchall()]


def _proven(connection: psycopg.Connection[Any], table: str) -> Proven | None:
    """Prove a table in one snapshot, during which it cannot be dropped. None if it was dropped already."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    name = sql.Identifier(*table.split(".", 1))
    try:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))
    except psycopg.errors.UndefinedTable:
        connection.rollback()
        return None
    return table_proof.prove(connection, table)


def _note(connection: psycopg.Connection[Any], found: Proven) -> None:
    connection.execute(_NOTE, {"table": found.table, "rows": found.rows, "fault": found.fault})
