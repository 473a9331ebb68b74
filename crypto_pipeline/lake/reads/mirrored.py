"""Rows of a series from files and table, of one moment and in the table's order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from crypto_pipeline.lake.reads.files import FileColumns, RowPiece, UnreadableFileError, read_batch
from crypto_pipeline.lake.reads.plain import read_plain
from crypto_pipeline.lake.reads.plan import Asked, ReadPlan, TableSpan, make_plan
from crypto_pipeline.market.times import EPOCH
from crypto_pipeline.store.archive.object_store import local_path
from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.freshness import CellStates, Freshness

log = logging.getLogger(__name__)

#: Attempts while cells change during the read, or files cannot be read; then the table answers alone.
_ATTEMPTS = 4
_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)

#: Reads the table: rows of these instruments in ``[begin, until)``, sorted by instrument and time.
TableRead = Callable[[dict[str, int], datetime, datetime], pl.DataFrame]


class MirrorReads:
    """Reads one series, files first. Thread-safe."""

    def __init__(self, freshness: Freshness, cell_days: int = 1) -> None:
        self._freshness, self._cell_days = freshness, cell_days
        #: Files that this process could not read.
        self._bad: set[int] = set()

    def read(
        self,
        ids: Mapping[str, int],
        begin: datetime,
        until: datetime,
        columns: FileColumns,
        table: TableRead,
        as_of: datetime | None = None,
    ) -> pl.DataFrame | None:
        """The rows of ``[begin, until)``, sorted by instrument and time. None: the table must answer alone.

        With ``as_of`` only files are used whose newest change was recorded by then.
        """
        ordered = dict(sorted(ids.items()))
        width = self._cell_days
        first, end = (begin - EPOCH) // _DAY - (width - 1), -((EPOCH - until) // _DAY)
        asked = Asked(ordered, first, end, width)
        for _ in range(_ATTEMPTS):
            states = self._freshness.states(asked.numbers, first, end)
            files = self._usable(states, as_of)
            plan = make_plan(asked, states, files) if files else None
            if plan is None:
                return None
            try:
                found = self._rows(plan, asked, columns, table, begin, until)
            except UnreadableFileError as error:
                log.warning("a file of the mirror is not used: %s", error)
                self._set_aside(plan, error)
                continue
            if self._unchanged(states, asked, plan):
                return found
        return None

    def _usable(self, states: CellStates, as_of: datetime | None) -> dict[int, MirrorFile]:
        numbers = [number for number in np.unique(states.files).tolist() if number and number not in self._bad]
        files = self._freshness.files(numbers) if numbers else {}
        if as_of is None:
            return files
        return {
            number: file
            for number, file in files.items()
            if file.newest_recorded_at is not None and file.newest_recorded_at <= as_of
        }

    def _rows(
        self, plan: ReadPlan, asked: Asked, columns: FileColumns, table: TableRead, begin: datetime, until: datetime
    ) -> pl.DataFrame:
        # bounds of open times, which are whole milliseconds, are rounded up
        low, high = (-((EPOCH - moment) // _MILLISECOND) for moment in (begin, until))
        plain, packed = read_plain(plan.batches, asked, columns, low, high)
        if not packed and not plan.spans and (whole := plain.frame()) is not None:
            return whole
        pieces = plain.pieces()
        for batch in packed:
            pieces += read_batch(batch, asked, columns, low, high)
        names = list(asked.ids)
        for span in plan.spans:
            chosen = {names[place]: asked.ids[names[place]] for place in span.places}
            start = max(begin, EPOCH + span.first * _DAY)
            rows = table(chosen, start, min(until, EPOCH + span.until * _DAY))
            pieces += _of_table(rows, span, names, columns)
        return _joined(pieces, columns.empty())

    def _unchanged(self, states: CellStates, asked: Asked, plan: ReadPlan) -> bool:
        """Whether the cells are as they were, except those of the last span, which was read in one statement."""
        if not plan.spans:
            return True  # files never change, so all is of the moment when the cells were asked for
        last = plan.spans[-1]
        numbers = asked.numbers
        other = [numbers[place] for place in last.places]
        before = states.outside(other, last.first, last.until)
        return before == self._freshness.sums(numbers, asked.first, asked.until, other, last.first, last.until)

    def _set_aside(self, plan: ReadPlan, error: UnreadableFileError) -> None:
        """Do not use a file again in this process, and note it unless its folder cannot be reached from here."""
        files = [file for batch in plan.batches for file in batch.files]
        for file in files:
            if error.file_id in (None, file.file_id):
                self._bad.add(file.file_id)
                folder = local_path(file.base_url)
                if error.file_id is not None and (folder is None or folder.is_dir()):
                    self._freshness.suspect(file.file_id)


def _of_table(rows: pl.DataFrame, span: TableSpan, names: Sequence[str], columns: FileColumns) -> list[RowPiece]:
    """The table's rows cut by instrument. The frame has the instrument and the time besides the wanted columns."""
    if rows.is_empty():
        return []
    wanted = rows.select(columns.wanted)
    times = rows[columns.time].to_physical().to_numpy()
    if len(span.places) == 1:
        return [RowPiece(span.places[0], times, wanted)]
    index = {name: place for place, name in enumerate(names)}
    pieces, start = [], 0
    for length, name in rows["instrument"].rle().struct.unnest().iter_rows():
        pieces.append(RowPiece(index[name], times[start : start + length], wanted.slice(start, length)))
        start += length
    return pieces


def _joined(pieces: Sequence[RowPiece], empty: pl.DataFrame) -> pl.DataFrame:
    """All rows by instrument and time, without copying them: a piece is cut where another one has rows inside of it."""
    begins: dict[int, list[int]] = {}
    for piece in pieces:
        begins.setdefault(piece.place, []).append(int(piece.times[0]))
    parts = [part for piece in pieces for part in _split(piece, begins[piece.place])]
    parts.sort(key=lambda piece: (piece.place, int(piece.times[0])))
    return pl.concat([piece.frame for piece in parts], rechunk=False) if parts else empty


def _split(piece: RowPiece, cuts: Sequence[int]) -> Sequence[RowPiece]:
    inner = [at for at in cuts if piece.times[0] < at <= piece.times[-1]]
    if not inner:
        return [piece]
    places = [0, *np.searchsorted(piece.times, sorted(inner)).tolist(), len(piece.times)]
    return [
        RowPiece(piece.place, piece.times[start:end], piece.frame.slice(start, end - start))
        for start, end in pairwise(places)
        if start < end
    ]
