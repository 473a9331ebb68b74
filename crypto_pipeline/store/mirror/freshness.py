"""Which cells the mirror answers now: their versions, beside those of the files that have their rows.

One statement tells the state of all cells of a question. Asked again after the read, it tells whether any of them has
changed meanwhile: versions are drawn from a sequence and change in the transaction that changes a row.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from crypto_pipeline.settings import PREFIX, SettingsError, load_settings
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.datasets import MirrorSeries

Numbers = npt.NDArray[np.int64]

# Each: the cells of a series, with the version and number of their rows.
_CELLS = {
    "bars": """
        SELECT c.instrument_id, c.day, c.data_version AS version, c.present AS rows FROM market.coverage c
        WHERE c.timeframe = %(series)s AND c.data_version > 0
    """,
    "features": """
        SELECT c.instrument_id, c.day, c.feature_version AS version, c.rows FROM research.feature_cells c WHERE true
    """,
    "labels": """
        SELECT c.instrument_id, c.day, c.label_version AS version, c.labels AS rows FROM research.label_cells c
        WHERE c.strategy = split_part(%(series)s, '/', 1) AND c.params_hash = split_part(%(series)s, '/', 2)
    """,
}
_WITHIN = " AND c.instrument_id = ANY(%(ids)s::int[]) AND c.day >= %(first)s::date AND c.day < %(until)s::date"
# Where a file of the archive has bars too, counts of cells may be estimates: table and archive answer such spans.
_ARCHIVED = """
(SELECT array_send(array_agg((a.{bound} AT TIME ZONE 'UTC')::date - date '1970-01-01')) FROM market.archive_files a
 WHERE %(dataset)s = 'bars' AND a.status = 'current' AND a.kind = 'bars' AND a.timeframe = %(series)s)
"""
_STATE = """
SELECT {archived}, {arrays} FROM (
    SELECT c.instrument_id, c.day - date '1970-01-01' AS day, c.version, c.rows,
           CASE WHEN d.version = c.version AND d.rows = c.rows THEN d.file_id ELSE 0 END AS file_id
    FROM ({cells}) c
    LEFT JOIN lake.days d ON d.dataset = %(dataset)s AND d.series = %(series)s
        AND d.instrument_id = c.instrument_id AND d.day = c.day AND (SELECT in_use FROM lake.owner)
) q
"""
_CHECK = """
SELECT count(*), coalesce(sum(c.version), 0)::bigint, coalesce(sum(c.rows), 0)::bigint FROM ({cells}) c
WHERE NOT (c.instrument_id = ANY(%(other)s::int[]) AND c.day >= %(from)s::date AND c.day < %(to)s::date)
"""
_COLUMNS = {"instrument_id": "int", "day": "int", "version": "bigint", "rows": "int", "file_id": "bigint"}
_ARRAYS = ", ".join(f"array_send(array_agg(q.{name}::{kind}))" for name, kind in _COLUMNS.items())
_WIRE = {"int": ">i4", "bigint": ">i8"}
#: Dimensions, null flag, element type, length and lower bound of an array; the elements follow.
_ARRAY_HEADER = 20
_SUSPECT = """
UPDATE lake.files SET suspected_at = coalesce(suspected_at, clock_timestamp()) WHERE file_id = %s AND status = 'current'
"""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class CellStates:
    """Cells as equally long arrays: instrument's number, day (since 1970), version, rows, and the file (0: none)."""

    instruments: Numbers
    days: Numbers
    versions: Numbers
    rows: Numbers
    files: Numbers

    def outside(self, numbers: Sequence[int], first: int, until: int) -> tuple[int, int, int]:
        """Count, sum of versions and sum of rows of all cells but those of ``numbers`` in the days."""
        inside = (self.days >= first) & (self.days < until) & np.isin(self.instruments, list(numbers))
        kept = ~inside
        return int(kept.sum()), int(self.versions[kept].sum()), int(self.rows[kept].sum())


class Freshness:
    """Reads the state of cells and the files of the mirror. Thread-safe."""

    def __init__(self, connections: Connections, of: MirrorSeries) -> None:
        self._connections, self._of = connections, of
        self._files: dict[int, MirrorFile] = {}

    def states(self, numbers: Sequence[int], first: int, until: int) -> CellStates:
        """The cells of the instruments in the days ``[first, until)`` since 1970, in one moment."""
        begins, ends, *arrays = self._connections.row(self._text(_STATE), self._values(numbers, first, until))
        found = [_array(data, _WIRE[kind]) for data, kind in zip(arrays, _COLUMNS.values(), strict=True)]
        states = CellStates(*found)
        if not _wanted_here(os.environ.get(f"{PREFIX}MIRROR")):
            states.files[:] = 0
        for begin, end in zip(_array(begins, ">i4"), _array(ends, ">i4"), strict=True):
            states.files[(states.days >= begin) & (states.days < end)] = 0
        return states

    def sums(
        self, numbers: Sequence[int], first: int, until: int, other: Sequence[int], other_first: int, other_until: int
    ) -> tuple[int, int, int]:
        """What ``CellStates.outside`` says of the cells now."""
        values = self._values(numbers, first, until)
        values |= {"other": list(other), "from": _day(other_first), "to": _day(other_until)}
        count, versions, rows = self._connections.row(self._text(_CHECK), values)
        return count, versions, rows

    def files(self, numbers: Sequence[int]) -> dict[int, MirrorFile]:
        """The files with these numbers, which never change. Those that are in the catalogue no more are left out."""
        if missing := [number for number in numbers if number not in self._files]:
            if len(self._files) > 100_000:
                self._files.clear()
            self._files |= {file.file_id: file for file in self._connections.run(catalogue.by_number, missing)}
        return {number: self._files[number] for number in numbers if number in self._files}

    def suspect(self, file_id: int) -> None:
        """Note that a file could not be read: a check names it, and it is made again. A replica notes nothing."""
        self._connections.run(_suspect, file_id)

    def _text(self, statement: str) -> str:
        archived = ", ".join(_ARCHIVED.format(bound=bound) for bound in ("first_open", "end_open"))
        return statement.format(cells=_CELLS[self._of.dataset] + _WITHIN, arrays=_ARRAYS, archived=archived)

    def _values(self, numbers: Sequence[int], first: int, until: int) -> dict[str, Any]:
        return {
            "dataset": self._of.dataset, "series": self._of.series, "ids": list(numbers),
            "first": _day(first), "until": _day(until),
        }  # fmt: skip


@lru_cache(maxsize=8)
def _wanted_here(setting: str | None) -> bool:
    """Whether this process uses files; the database says whether anyone does."""
    if setting is None:
        return True
    try:
        return load_settings().mirror
    except SettingsError:
        return True


def _suspect(connection: psycopg.Connection[Any], file_id: int) -> None:
    (replica,) = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (True,)
    if not replica:
        connection.execute(_SUSPECT, [file_id])


def _array(data: bytes | None, wire: str) -> Numbers:
    if data is None:
        return np.zeros(0, np.int64)
    layout = np.dtype([("length", ">i4"), ("value", wire)])
    return np.frombuffer(data, layout, offset=_ARRAY_HEADER)["value"].astype(np.int64)


def _day(number: int) -> date:
    return date.fromordinal(_EPOCH.toordinal() + number)
