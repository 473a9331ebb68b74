"""Disagreements: bars on which two statements differ, with both values, until they agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.frames import named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

#: What ``open`` returns. ``ours`` and ``theirs`` are JSON.
RECONCILIATION_SCHEMA: dict[str, pl.DataType] = {
    "reconciliation_id": pl.Int64(),
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "open_time": UTC_MS,
    "kind": pl.String(),
    "state": pl.String(),
    "ours": pl.String(),
    "theirs": pl.String(),
    "columns": pl.List(pl.String()),
    "attempts": pl.Int32(),
    "found_at": UTC_MS,
    "last_seen": UTC_MS,
    "note": pl.String(),
}

_RECORD = """
INSERT INTO market.reconciliations AS r (instrument_id, timeframe, open_time, kind, ours, theirs, columns)
VALUES (%s, %s, %s, %s, %s::jsonb, %s::jsonb, %s)
ON CONFLICT (instrument_id, timeframe, open_time, kind) WHERE resolved_at IS NULL DO UPDATE
SET ours = excluded.ours, theirs = excluded.theirs, columns = excluded.columns,
    attempts = r.attempts + 1, last_seen = now()
"""

_OPEN = """
SELECT reconciliation_id, instrument_id, timeframe, open_time, kind, state, ours::text AS ours, theirs::text AS theirs,
       columns, attempts, found_at, last_seen, note
FROM market.reconciliations
WHERE resolved_at IS NULL AND timeframe = ANY($1) AND instrument_id = ANY($2) AND state = ANY($3)
  AND open_time >= $4 AND open_time < $5
"""

_RESOLVE = """
UPDATE market.reconciliations SET state = 'resolved', resolved_at = now(), note = coalesce(%s, note)
WHERE reconciliation_id = ANY(%s) AND resolved_at IS NULL
"""

_DISPUTE = """
UPDATE market.reconciliations SET state = 'disputed', note = coalesce(%s, note)
WHERE reconciliation_id = ANY(%s) AND state = 'open'
"""


class Reconciliations:
    """Reads and writes disagreements. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def record(self, frame: pl.DataFrame) -> int:
        """Note disagreements: ``instrument``, ``timeframe``, ``open_time``, ``kind``, ``ours``, ``theirs`` (JSON) and
        ``columns`` (list of names). One that is noted already is brought up to date and counts an attempt more.
        Returns how many rows."""
        names = ["instrument", "timeframe", "open_time", "kind", "ours", "theirs", "columns"]
        require_columns(frame, names, "a frame of disagreements")
        ids = self._symbols.ids(frame["instrument"].unique().to_list())
        ordered = frame.select(names).sort("instrument", "timeframe", "open_time", "kind")  # so that two never deadlock
        rows = [(ids[instrument], *rest) for instrument, *rest in ordered.iter_rows()]

        def work(connection: psycopg.Connection[Any]) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(_RECORD, rows)

        if rows:
            self._connections.run(work)
        return len(rows)

    def resolve(self, reconciliation_ids: Sequence[int], note: str | None = None) -> int:
        """Close rows on which both sides agree by now. Returns how many were open."""
        return self._close(_RESOLVE, reconciliation_ids, note)

    def mark_disputed(self, reconciliation_ids: Sequence[int], note: str | None = None) -> int:
        """State that the venue contradicts itself. Returns how many rows were not disputed before."""
        return self._close(_DISPUTE, reconciliation_ids, note)

    def open(
        self,
        timeframe: Timeframe | None = None,
        instruments: Sequence[str] | None = None,
        states: Sequence[str] = ("open", "disputed"),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pl.DataFrame:
        """Unresolved rows with open time in ``[start, end)``, in RECONCILIATION_SCHEMA, sorted."""
        ids = self._symbols.ids(instruments) if instruments is not None else self._symbols.collected()
        answer = self._connections.frame(
            _OPEN,
            [
                [str(timeframe)] if timeframe is not None else [str(each) for each in Timeframe],
                list(ids.values()),
                list(states),
                start or datetime(1, 1, 2, tzinfo=UTC),
                end or datetime(9999, 12, 31, tzinfo=UTC),
            ],
        )
        rows = named(answer, ids).select(pl.col(name).cast(kind) for name, kind in RECONCILIATION_SCHEMA.items())
        return rows.sort("instrument", "timeframe", "open_time", "kind")

    def _close(self, statement: str, reconciliation_ids: Sequence[int], note: str | None) -> int:
        numbers = list(reconciliation_ids)
        if not numbers:
            return 0

        def work(connection: psycopg.Connection[Any]) -> int:
            return connection.execute(statement, [note, numbers]).rowcount

        return self._connections.run(work)
