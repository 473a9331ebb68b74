"""One writing transaction for the bars of some coverage cells of one partition, from the lock to the counters.

While the cells are locked, no other session can change these bars. So stored bars are read and compared here column by
column, and only differences are sent: that was faster than staging and an upsert for every mix. A superseded row
is deleted and written anew in the same transaction: COPY inserts many rows at a time, UPDATE one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import STAND_IN, BarOrigin
from crypto_pipeline.market.calendars import get_calendar, outside_sessions
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.bars import stored_rows
from crypto_pipeline.store.columns import bars as bar_columns
from crypto_pipeline.store.columns import copy_format, tid_array
from crypto_pipeline.store.columns.bars import Array, Columns, take
from crypto_pipeline.store.columns.best_copy import judge
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field
from crypto_pipeline.store.coverage import ledger_closing
from crypto_pipeline.store.coverage.cell_locks import Cells
from crypto_pipeline.store.partitions import bars as partitions

_COPY = "COPY {} ({}) FROM STDIN (FORMAT BINARY)"
# FREEZE: the table is invisible before the commit, so its rows can be frozen at once
_COPY_NEW = "COPY {} ({}) FROM STDIN (FORMAT BINARY, FREEZE)"
_REVISIONS = sql.Identifier("market", "ohlc_revisions")
#: Sources of rolled-up bars.
_ROLLED = np.array([SOURCE_RANKS[source] for source in (BarOrigin.HISTORICAL_AGGREGATED, *STAND_IN)], np.int16)


@dataclass(slots=True)
class Batch:
    """Bars (sorted, best copies only) and their cells; ``built_from`` has the versions of the 1m bars of roll-ups.

    ``calendars`` has the calendar of each instrument that does not trade always.
    """

    timeframe: Timeframe
    month: int | None
    bars: Columns
    cells: Cells
    built_from: Array | None = None
    calendars: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class BatchOutcome:
    """Result of a transaction; ``changed`` marks the cells with any change."""

    inserted: int = 0
    superseded: int = 0
    revised_only: int = 0
    unchanged: int = 0
    changed: Array = field(default_factory=lambda: np.zeros(0, bool))


def split(whole: Batch, rows: int) -> Iterator[Batch]:
    """Cut into batches of about ``rows`` bars (and at most as many cells), between cells."""
    place = whole.cells.index(whole.bars)
    weight = np.maximum(np.bincount(place, minlength=len(whole.cells)), 1)
    group = (np.cumsum(weight) - 1) // rows
    cell_edges = np.append(np.flatnonzero(np.diff(group, prepend=-1)), len(whole.cells))
    bar_edges = np.searchsorted(place, cell_edges)
    for i in range(len(cell_edges) - 1):
        cells = slice(cell_edges[i], cell_edges[i + 1])
        yield Batch(
            whole.timeframe,
            whole.month,
            take(whole.bars, slice(bar_edges[i], bar_edges[i + 1])),
            Cells(whole.timeframe, whole.cells.instruments[cells], whole.cells.days[cells]),
            None if whole.built_from is None else whole.built_from[cells],
            whole.calendars,
        )


def write(connection: psycopg.Connection[Any], batch: Batch) -> BatchOutcome:
    """Write the batch into its existing partition. Run it in a separate transaction."""
    present, stored_from = batch.cells.lock(connection)
    table = partitions.identifier(partitions.table(batch.timeframe, batch.month))
    bars, outdated = batch.bars, 0
    if batch.built_from is not None:
        # These bars were computed from older 1m bars than the stored ones, so the stored roll-up is newer.
        overtaken = batch.built_from < stored_from
        late = overtaken[batch.cells.index(bars)]
        bars, outdated = take(bars, ~late), int(late.sum())
    cell_of = batch.cells.index(bars)
    new = present[cell_of] == 0
    inserts, rest = take(bars, new), take(bars, ~new)
    at = _clock(connection)
    outcome = BatchOutcome(unchanged=outdated, changed=np.zeros(len(batch.cells), bool))
    if len(rest["open_time"]):
        fresh = _supersede(connection, table, batch, rest, at, outcome)
        inserts = bar_columns.join(inserts, fresh)
    outcome.inserted = len(inserts["open_time"])
    if outcome.inserted:
        inserts["recorded_at"] = np.full(outcome.inserted, at)
        _copy(connection, _COPY, table, batch.timeframe, inserts)
    _account(connection, batch, inserts, outcome, stored_from)
    return outcome


def build(connection: psycopg.Connection[Any], batch: Batch) -> BatchOutcome | None:
    """Make the month's partition from the batch. None, without a change, if the partition exists already."""
    assert batch.month is not None, "only monthly partitions are built"
    stored_from = np.full(len(batch.cells), -1)

    def fill(apart: sql.Identifier) -> None:
        stored_from[:] = batch.cells.lock(connection)[1]
        batch.bars["recorded_at"] = np.full(len(batch.bars["open_time"]), _clock(connection))
        _copy(connection, _COPY_NEW, apart, batch.timeframe, batch.bars)

    if not partitions.build(connection, batch.timeframe, batch.month, fill):
        return None
    outcome = BatchOutcome(inserted=len(batch.bars["open_time"]), changed=np.zeros(len(batch.cells), bool))
    _account(connection, batch, batch.bars, outcome, stored_from)
    return outcome


def _supersede(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    batch: Batch,
    bars: Columns,
    at: int,
    outcome: BatchOutcome,
) -> Columns:
    """Replace stored copies by better ones, and keep the old ones in the history. Return the bars without a stored
    copy.
    """
    stored = stored_rows.read(connection, table, batch.timeframe, bars)
    keys = bar_columns.key(bars)
    stored_keys = bar_columns.key(stored)
    place = np.searchsorted(keys, stored_keys)
    met = np.flatnonzero(keys[np.minimum(place, len(keys) - 1)] == stored_keys)
    place = place[met]
    old, new = take(stored, met), take(bars, place)

    better, same = judge(new, old)
    if batch.built_from is not None:
        # The roll-up of newer minutes replaces that of older ones for any revisions, and for any venue of the minutes.
        both = np.isin(new["source_rank"], _ROLLED) & np.isin(old["source_rank"], _ROLLED)
        better = np.where(both, ~same | (new["revision"] != old["revision"]), better)
    outcome.superseded = int((better & ~same).sum())
    outcome.revised_only = int((better & same).sum())
    outcome.unchanged += int((~better).sum())
    if better.any():
        outcome.changed[batch.cells.index(take(new, better))] = True
        _replace(connection, table, batch.timeframe, take(old, better), take(new, better), same[better], at)
    absent = np.ones(len(keys), bool)
    absent[place] = False
    return take(bars, absent)


def _replace(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    timeframe: Timeframe,
    old: Columns,
    new: Columns,
    same: Array,
    at: int,
) -> None:
    """Replace rows; the old ones go to the history unless only their revision differs."""
    # after a clock was set back, a copy must not end before it began
    moment = np.maximum(at, old["recorded_at"])
    new = new | {"recorded_at": np.where(same, old["recorded_at"], moment)}
    history = take(old | {"superseded_at": moment}, ~same)
    if len(history["open_time"]):
        _copy(connection, _COPY, _REVISIONS, timeframe, history, Field("superseded_at", "timestamptz"))
    _delete(connection, table, old["ctid"])
    _copy(connection, _COPY, table, timeframe, new)


def _delete(connection: psycopg.Connection[Any], table: sql.Identifier, places: Array) -> None:
    # neither a join nor an array of known length, because the planner may read the whole partition for them
    statement = sql.SQL("DELETE FROM {} WHERE ctid = ANY((SELECT %s)::tid[])").format(table)
    deleted = tid_array.execute(connection, statement, np.sort(places))
    assert deleted == len(places), "a locked bar was changed by someone who did not hold its cell"


def _account(
    connection: psycopg.Connection[Any], batch: Batch, inserts: Columns, outcome: BatchOutcome, stored_from: Array
) -> None:
    """Count the inserted bars, and close the gaps of the ledger that they fill."""
    cells = batch.cells
    inserted = np.zeros(len(cells), np.int64)
    if len(inserts["open_time"]):
        inserted = np.bincount(cells.index(inserts), minlength=len(cells))
        ledger_closing.close(connection, cells, inserts)
    outcome.changed |= inserted > 0
    versions = None
    if batch.built_from is not None:
        versions = [
            int(version) if version >= before else None
            for version, before in zip(batch.built_from, stored_from, strict=True)
        ]
    cells.update(connection, inserted, outcome.changed, versions, _outside(batch, inserts))


def _outside(batch: Batch, inserts: Columns) -> Array | None:
    """How many of the inserted bars of each cell lie outside of the sessions of their exchange; None: none."""
    if not batch.calendars or not len(inserts["open_time"]):
        return None
    numbers = inserts["instrument_id"]
    open_ms = (inserts["open_time"] + PG_EPOCH_US) // 1000
    outside = np.zeros(len(numbers), bool)
    for number, calendar in batch.calendars.items():
        rows = np.flatnonzero(numbers == number)
        outside[rows] = outside_sessions(get_calendar(calendar), batch.timeframe, open_ms[rows])
    return np.bincount(batch.cells.index(inserts)[outside], minlength=len(batch.cells))


def _copy(
    connection: psycopg.Connection[Any],
    statement: str,
    table: sql.Identifier,
    timeframe: Timeframe,
    columns: Columns,
    *extra: Field,
) -> None:
    with connection.cursor() as cursor:
        target = sql.SQL(statement).format(table, bar_columns.column_list(*copy_format.names(extra)))
        bar_columns.copy_in(cursor, target, timeframe, columns, *extra)


def _clock(connection: psycopg.Connection[Any]) -> int:
    """The database's time in microseconds since PostgreSQL's epoch. Call it once the locks are held."""
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
    assert row is not None
    return int(row[0]) - PG_EPOCH_US
