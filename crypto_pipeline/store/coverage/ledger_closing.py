"""Effect of new bars on the ledger: open rows shrink or are split; the filled part is kept as a closed row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from crypto_pipeline.store.columns.bars import Array, Columns
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US
from crypto_pipeline.store.coverage.cell_locks import Cells, lock_series

_OVERLAPPED = """
SELECT g.gap_id, g.instrument_id,
       (extract(epoch FROM g.start_time) * 1000000)::bigint, (extract(epoch FROM g.end_time) * 1000000)::bigint
FROM unnest(%(instruments)s::int[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS r (i, since, until)
JOIN market.gaps g ON g.instrument_id = r.i AND g.timeframe = %(timeframe)s AND g.closed_at IS NULL
     AND tstzrange(g.start_time, g.end_time) && tstzrange(r.since, r.until)
ORDER BY g.gap_id
"""

_CLOSE_WHOLE = """
UPDATE market.gaps
SET state = 'healed', closed_at = now(), evidence = evidence || jsonb_build_object('was', state), next_attempt = NULL
WHERE gap_id = ANY(%s)
"""

_SHRINK = """
UPDATE market.gaps g SET start_time = u.since, end_time = u.until, bars = u.bars
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[]) AS u (gap_id, since, until, bars)
WHERE g.gap_id = u.gap_id
"""

_PIECES = """
INSERT INTO market.gaps (instrument_id, timeframe, start_time, end_time, bars, state, evidence, attempts, first_seen,
                         last_attempt, next_attempt, closed_at, note)
SELECT g.instrument_id, g.timeframe, u.since, u.until, u.bars,
       CASE WHEN u.healed THEN 'healed' ELSE g.state END,
       CASE WHEN u.healed THEN g.evidence || jsonb_build_object('was', g.state) ELSE g.evidence END,
       g.attempts, g.first_seen, g.last_attempt,
       CASE WHEN u.healed THEN NULL ELSE g.next_attempt END,
       CASE WHEN u.healed THEN now() END,
       g.note
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::bool[])
     AS u (gap_id, since, until, bars, healed)
JOIN market.gaps g USING (gap_id)
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a ledger row, in microseconds since PostgreSQL's epoch."""

    gap: int
    start: int
    end: int
    healed: bool


def close(connection: psycopg.Connection[Any], cells: Cells, bars: Columns) -> None:
    """Remove the inserted bars (of locked cells) from the open ledger rows, and count explained bars again."""
    bars_by_key = _sorted(bars)
    ranges = _ranges(bars_by_key, cells)
    found = connection.execute(_OVERLAPPED, ranges).fetchall()
    if not found:
        return
    # A row may reach into cells that another transaction has locked and change it; the lock of the series prevents
    # that.
    touched = sorted({row[1] for row in found})
    lock_series(connection, [(instrument, cells.timeframe) for instrument in touched])
    found = connection.execute(_OVERLAPPED, ranges).fetchall()
    pieces: list[Piece] = []
    width = cells.timeframe.milliseconds * 1000
    for gap, instrument, start, end in found:
        arrived = _within(bars_by_key, instrument, start - PG_EPOCH_US, end - PG_EPOCH_US)
        pieces += cut(gap, start - PG_EPOCH_US, end - PG_EPOCH_US, arrived, width)
    _store(connection, pieces, width)
    held = np.isin(cells.instruments, touched)
    Cells(cells.timeframe, cells.instruments[held], cells.days[held]).explain(connection, bump=False)


def cut(gap: int, start: int, end: int, arrived: Array, width: int) -> list[Piece]:
    """Cut the row ``[start, end)`` into pieces that have arrived (sorted open times in ``arrived``) and the absent
    rest.

    Empty if no bar has arrived.
    """
    if not len(arrived):
        return []
    breaks = np.flatnonzero(np.diff(arrived) != width)
    run_starts = arrived[np.append(0, breaks + 1)].tolist()
    run_ends = (arrived[np.append(breaks, len(arrived) - 1)] + width).tolist()
    pieces, reached = [], start
    for run_start, run_end in zip(run_starts, run_ends, strict=True):
        if run_start > reached:
            pieces.append(Piece(gap, reached, run_start, healed=False))
        pieces.append(Piece(gap, run_start, run_end, healed=True))
        reached = run_end
    if reached < end:
        pieces.append(Piece(gap, reached, end, healed=False))
    return pieces


def _store(connection: psycopg.Connection[Any], pieces: list[Piece], width: int) -> None:
    """Store the pieces: the first absent piece keeps the row, the others become new rows that inherit its values."""
    shrunk: dict[int, Piece] = {}
    others: list[Piece] = []
    for piece in pieces:
        if not piece.healed and piece.gap not in shrunk:
            shrunk[piece.gap] = piece
        else:
            others.append(piece)
    whole = [piece.gap for piece in others if piece.gap not in shrunk]
    others = [piece for piece in others if piece.gap in shrunk]
    if whole:
        connection.execute(_CLOSE_WHOLE, [whole])
    if shrunk:
        connection.execute(_SHRINK, _arrays(list(shrunk.values()), width))
        connection.execute(_PIECES, [*_arrays(others, width), [piece.healed for piece in others]])


def _arrays(pieces: list[Piece], width: int) -> list[list[Any]]:
    return [
        [piece.gap for piece in pieces],
        [_moment(piece.start) for piece in pieces],
        [_moment(piece.end) for piece in pieces],
        [(piece.end - piece.start) // width for piece in pieces],
    ]


def _sorted(bars: Columns) -> Columns:
    order = np.lexsort([bars["open_time"], bars["instrument_id"]])
    return {name: bars[name][order] for name in ("instrument_id", "open_time")}


def _within(bars: Columns, instrument: int, start: int, end: int) -> Array:
    """Open times of the instrument in ``[start, end)``."""
    first, last = np.searchsorted(bars["instrument_id"], [instrument, instrument + 1])
    times = bars["open_time"][first:last]
    return times[slice(*np.searchsorted(times, [start, end]))]


def _ranges(bars: Columns, cells: Cells) -> dict[str, Any]:
    """The span from the first to the last bar of each instrument."""
    instruments, first = np.unique(bars["instrument_id"], return_index=True)
    last = np.append(first[1:], len(bars["instrument_id"])) - 1
    width = cells.timeframe.milliseconds * 1000
    return {
        "timeframe": cells.timeframe,
        "instruments": instruments.tolist(),
        "since": [_moment(value) for value in bars["open_time"][first].tolist()],
        "until": [_moment(value + width) for value in bars["open_time"][last].tolist()],
    }


def _moment(microseconds: int) -> datetime:
    return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
