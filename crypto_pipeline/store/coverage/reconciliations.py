"""Disagreements: bars whose two sources differ, with both values, until they agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Connection, Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.frames import core_frame, named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.schema.tables import RECONCILIATIONS

#: Schema of ``open``. ``ours`` and ``theirs`` are JSON.
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

_ROWS = RECONCILIATIONS.c
#: The same columns in the table.
_STORED = {("instrument_id" if name == "instrument" else name): dtype for name, dtype in RECONCILIATION_SCHEMA.items()}
_STORED["instrument_id"] = pl.Int32()
#: Columns with the values of both sides, as JSON.
_SIDES = ("ours", "theirs")
_KEY = ("instrument_id", "timeframe", "open_time", "kind")


class Reconciliations:
    """Reads and writes disagreements. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def record(self, disagreements: pl.DataFrame) -> int:
        """Record disagreements: ``instrument``, ``timeframe``, ``open_time``, ``kind``, ``ours``, ``theirs`` (JSON) and
        ``columns`` (list of names). A known disagreement is updated and counts one more attempt. Return the number of
        rows."""
        names = ["instrument", "timeframe", "open_time", "kind", "ours", "theirs", "columns"]
        require_columns(disagreements, names, "a frame of disagreements")
        ids = self._symbols.ids(disagreements["instrument"].unique().to_list())
        ordered = disagreements.select(names).sort(
            "instrument", "timeframe", "open_time", "kind"
        )  # in key order, so that two transactions never deadlock
        rows = [
            {**values, "instrument_id": ids[instrument], **{name: json.loads(values[name]) for name in _SIDES}}
            for instrument, values in zip(
                ordered["instrument"], ordered.drop("instrument").iter_rows(named=True), strict=True
            )
        ]

        def work(connection: Connection) -> None:
            connection.execute(_recorded(), rows)

        if rows:
            self._connections.run_core(work)
        return len(rows)

    def resolve(self, reconciliation_ids: Sequence[int], note: str | None = None) -> int:
        """Close rows whose sides agree by now. Return how many were open."""
        return self._close(
            reconciliation_ids, note, _ROWS.resolved_at.is_(None), state="resolved", resolved_at=func.now()
        )

    def mark_disputed(self, reconciliation_ids: Sequence[int], note: str | None = None) -> int:
        """Mark rows as disputed, because the venue contradicts itself. Return how many were not disputed before."""
        return self._close(reconciliation_ids, note, _ROWS.state == "open", state="disputed")

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
        columns = [cast(_ROWS[name], Text).label(name) if name in _SIDES else _ROWS[name] for name in _STORED]
        query = select(*columns).where(
            _ROWS.resolved_at.is_(None), _ROWS.instrument_id.in_(ids.values()), _ROWS.state.in_(states)
        )
        if timeframe is not None:
            query = query.where(_ROWS.timeframe == str(timeframe))
        if start is not None:
            query = query.where(_ROWS.open_time >= start)
        if end is not None:
            query = query.where(_ROWS.open_time < end)
        rows = named(core_frame(self._connections, query, _STORED), ids).select(*RECONCILIATION_SCHEMA)
        return rows.sort("instrument", "timeframe", "open_time", "kind")

    def _close(self, reconciliation_ids: Sequence[int], note: str | None, still: ColumnElement[bool], **to: Any) -> int:
        numbers = list(reconciliation_ids)
        if not numbers:
            return 0
        chosen = update(RECONCILIATIONS).where(_ROWS.reconciliation_id.in_(numbers), still)
        statement = chosen.values(note=func.coalesce(note, _ROWS.note), **to)
        return self._connections.run_core(lambda connection: connection.execute(statement).rowcount)


def _recorded() -> Insert:
    """The statement that records a disagreement; a known one gets the newest values and counts one more attempt."""
    statement = insert(RECONCILIATIONS)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=list(_KEY),
        index_where=_ROWS.resolved_at.is_(None),
        set_={
            **{name: new[name] for name in (*_SIDES, "columns")},
            "attempts": _ROWS.attempts + 1,
            "last_seen": func.now(),
        },
    )
