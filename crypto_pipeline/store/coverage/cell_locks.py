"""Coverage cells as locks and counters: a transaction that changes bars or reasons of a cell locks the cell's row.

Every transaction locks the rows in the order of their key, before any other row, so writers wait but never deadlock.
Cells are passed as two aligned arrays: instrument ids, and days since 1970; sorted, each once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns.bars import Array, Columns, days
from crypto_pipeline.store.coverage.cell_creation import make_and_hold

_ADD = """
INSERT INTO market.coverage (instrument_id, timeframe, day)
SELECT u.i, %(timeframe)s, date '1970-01-01' + u.d
FROM unnest(%(instruments)s::int[], %(days)s::int[]) AS u (i, d)
WHERE NOT EXISTS (
    SELECT FROM market.coverage c
    WHERE c.instrument_id = u.i AND c.timeframe = %(timeframe)s AND c.day = date '1970-01-01' + u.d
)
ORDER BY u.i, u.d
ON CONFLICT DO NOTHING
"""

_LOCK = """
SELECT c.present - c.archived, coalesce(c.built_from, -1)
FROM unnest(%(instruments)s::int[], %(days)s::int[]) AS u (i, d)
JOIN market.coverage c ON c.instrument_id = u.i AND c.timeframe = %(timeframe)s AND c.day = date '1970-01-01' + u.d
ORDER BY c.instrument_id, c.day
FOR UPDATE OF c
"""

# A bar that is written to an archived cell may be in the archive already, so it counts as new only if one is missing.
# The next archive run merges the two and counts. The number of bars in the table is exact: present - archived.
_HOT = "c.present - c.archived + u.inserted"
_PRESENT = f"greatest({_HOT}, least(c.present + u.inserted, greatest(c.present, c.expected)))"

_UPDATE = f"""
UPDATE market.coverage c
SET present = CASE WHEN c.archived = 0 THEN c.present + u.inserted ELSE {_PRESENT} END,
    archived = CASE WHEN c.archived = 0 THEN 0 ELSE {_PRESENT} - ({_HOT}) END,
    expected = c.expected + u.outside,
    outside = c.outside + u.outside,
    final = c.expected + u.outside > 0
        AND CASE WHEN c.archived = 0 THEN c.present + u.inserted ELSE {_PRESENT} END + c.explained
            >= c.expected + u.outside,
    data_version = CASE WHEN u.changed THEN nextval('market.data_version') ELSE c.data_version END,
    built_from = coalesce(u.built_from, c.built_from),
    updated_at = now()
FROM unnest(%(instruments)s::int[], %(days)s::int[], %(inserted)s::int[], %(outside)s::int[], %(changed)s::bool[],
            %(built_from)s::bigint[])
    AS u (i, d, inserted, outside, changed, built_from)
WHERE c.instrument_id = u.i AND c.timeframe = %(timeframe)s AND c.day = date '1970-01-01' + u.d
"""  # noqa: S608  (constants only)


_LEDGER_LOCKS = 0x67617073  # "gaps"

_EXPLAIN = """
UPDATE market.coverage c
SET explained = x.bars,
    final = c.expected > 0 AND c.present + x.bars >= c.expected,
    data_version = CASE WHEN %(bump)s THEN nextval('market.data_version') ELSE c.data_version END,
    updated_at = now()
FROM (
    SELECT u.i, date '1970-01-01' + u.d AS day, (
        SELECT coalesce(sum(
            extract(epoch FROM least(g.end_time, cell.until) - greatest(g.start_time, cell.since)) / %(seconds)s
        ), 0)::int
        FROM market.gaps g
        WHERE g.instrument_id = u.i AND g.timeframe = %(timeframe)s AND g.closed_at IS NULL
          AND g.state = ANY(%(explaining)s) AND tstzrange(g.start_time, g.end_time) && tstzrange(cell.since, cell.until)
    ) AS bars
    FROM unnest(%(instruments)s::int[], %(days)s::int[]) AS u (i, d)
    CROSS JOIN LATERAL (
        SELECT timestamptz 'epoch' + u.d * interval '24 hours' AS since,
               timestamptz 'epoch' + (u.d + %(cell_days)s) * interval '24 hours' AS until
    ) AS cell
) AS x
WHERE c.instrument_id = x.i AND c.timeframe = %(timeframe)s AND c.day = x.day AND (%(bump)s OR c.explained <> x.bars)
"""

_REASONS = """
SELECT (
    SELECT string_agg(
        g.state || extract(epoch FROM greatest(g.start_time, cell.since)) || '-'
        || extract(epoch FROM least(g.end_time, cell.until)), ' ' ORDER BY g.start_time
    )
    FROM market.gaps g
    WHERE g.instrument_id = u.i AND g.timeframe = %(timeframe)s AND g.closed_at IS NULL
      AND g.state = ANY(%(explaining)s) AND tstzrange(g.start_time, g.end_time) && tstzrange(cell.since, cell.until)
)
FROM unnest(%(instruments)s::int[], %(days)s::int[]) WITH ORDINALITY AS u (i, d, place)
CROSS JOIN LATERAL (
    SELECT timestamptz 'epoch' + u.d * interval '24 hours' AS since,
           timestamptz 'epoch' + (u.d + %(cell_days)s) * interval '24 hours' AS until
) AS cell
ORDER BY u.place
"""

#: Ledger states that explain an absent bar.
EXPLAINING = ("no_trade", "venue_outage", "not_listed", "delisted", "unfillable")


@dataclass(frozen=True, slots=True)
class Cells:
    """Some cells of one timeframe, in key order."""

    timeframe: Timeframe
    instruments: Array
    days: Array

    @classmethod
    def from_columns(cls, timeframe: Timeframe, instruments: Array, cell_days: Array) -> Cells:
        """The distinct cells among the given ones."""
        keys = _key(instruments, cell_days)
        ordered = bool((np.diff(keys) >= 0).all())  # the usual case, in which no sort is needed
        keys = keys[np.diff(keys, prepend=-1) != 0] if ordered else np.unique(keys)
        return cls(timeframe, keys >> 32, (keys & 0xFFFFFFFF) - _OFFSET)

    def __len__(self) -> int:
        return len(self.days)

    def index(self, columns: Columns) -> Array:
        """The index of each bar's cell. All bars must be in these cells."""
        return np.searchsorted(self.key(), _key(columns["instrument_id"], days(columns)))

    def contain(self, columns: Columns) -> bool:
        """Whether every bar is in one of the cells."""
        return bool(np.isin(_key(columns["instrument_id"], days(columns)), self.key()).all())

    def key(self) -> Array:
        """One sortable number per cell."""
        return _key(self.instruments, self.days)

    def parameters(self) -> dict[str, Any]:
        """Parameters of statements that take the cells as arrays."""
        return {"timeframe": self.timeframe, "instruments": self.instruments.tolist(), "days": self.days.tolist()}

    def lock(self, connection: psycopg.Connection[Any]) -> tuple[Array, Array]:
        """Lock the cells until the transaction ends. Return the number of each cell's bars in the table, and
        ``built_from`` (-1: none)."""
        rows = make_and_hold(connection, _ADD, _LOCK, self.parameters(), len(self), f"{self.timeframe} bars")
        state = np.array(rows, np.int64).reshape(-1, 2)
        return state[:, 0], state[:, 1]

    def update(
        self,
        connection: psycopg.Connection[Any],
        inserted: Array,
        changed: Array,
        built_from: list[int | None] | None = None,
        outside: Array | None = None,
    ) -> None:
        """Add the inserted bars, and give every changed cell a new data version. The cells must be locked.

        ``outside``: how many of the inserted bars of each cell lie outside of the sessions; None: none.
        """
        touched = changed if built_from is None else changed | np.array([b is not None for b in built_from], bool)
        if not touched.any():
            return
        chosen = np.flatnonzero(touched)
        versions = [None] * len(chosen) if built_from is None else [built_from[i] for i in chosen]
        cells = Cells(self.timeframe, self.instruments[chosen], self.days[chosen])
        more = {
            "inserted": inserted[chosen].tolist(),
            "outside": [0] * len(chosen) if outside is None else outside[chosen].tolist(),
            "changed": changed[chosen].tolist(),
            "built_from": versions,
        }
        connection.execute(_UPDATE, cells.parameters() | more)

    def explain(self, connection: psycopg.Connection[Any], *, bump: bool) -> None:
        """Count again how many bars the ledger explains; ``bump`` gives every cell a new data version.

        The cells must be locked.
        """
        if len(self):
            more = {
                "seconds": self.timeframe.seconds,
                "cell_days": self.timeframe.cell_days,
                "explaining": list(EXPLAINING),
                "bump": bump,
            }
            connection.execute(_EXPLAIN, self.parameters() | more)

    def reasons(self, connection: psycopg.Connection[Any]) -> list[str | None]:
        """Per cell the ledger's explanations as one text, for comparison."""
        more = {"cell_days": self.timeframe.cell_days, "explaining": list(EXPLAINING)}
        return [text for (text,) in connection.execute(_REASONS, self.parameters() | more)]

    def differing(self, before: list[str | None], after: list[str | None]) -> Cells:
        """The cells for which the two lists differ."""
        chosen = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
        return Cells(self.timeframe, self.instruments[chosen], self.days[chosen])


#: Keeps days before 1970 positive inside the combined key.
_OFFSET = 1 << 30


def _key(instruments: Array, cell_days: Array) -> Array:
    return (instruments.astype(np.int64) << 32) + (cell_days.astype(np.int64) + _OFFSET)


def lock_series(connection: psycopg.Connection[Any], series: list[tuple[int, Timeframe]]) -> None:
    """Lock the ledger of these series until the transaction ends. Lock the cells before."""
    keys = sorted({instrument << 14 | timeframe.minutes for instrument, timeframe in series})
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s, k) FROM unnest(%s::int[]) WITH ORDINALITY AS u (k, n) ORDER BY n",
        [_LEDGER_LOCKS, keys],
    )
