"""Which part of a question each file answers, and which part the table must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.freshness import CellStates

#: Rows of files that are read at once: few reads of many files where each gives little, and little memory at a time.
BATCH_ROWS = 150_000
#: Rows of files of several instruments that are read at once.
SHARED_ROWS = 1_000_000
#: Spans that the table is asked for; with more of them it is asked for whole months.
MOST_SPANS = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """Instruments (name to number, in the order of names) and the days ``[first, until)`` since 1970 that are read.

    ``cell_days`` is the number of days in a cell.
    """

    ids: Mapping[str, int]
    first: int
    until: int
    cell_days: int = 1

    @property
    def numbers(self) -> list[int]:
        """Numbers of the instruments."""
        return list(self.ids.values())


@dataclass(slots=True)
class FileBatch:
    """Files that are read at once, in the order of their rows, and the cells that are taken from them.

    ``taken`` has a row per instrument of ``places`` (positions in the order of names) and a column per cell from day
    ``first`` on. The files never hold the same cell twice.
    """

    files: list[MirrorFile]
    places: list[int]
    first: int
    taken: npt.NDArray[np.bool_]
    rows: int = 0


@dataclass(frozen=True, slots=True)
class TableSpan:
    """Days ``[first, until)`` since 1970 of the instruments at ``places`` that the table must answer."""

    first: int
    until: int
    places: tuple[int, ...]


@dataclass(slots=True)
class ReadPlan:
    """Batches of files and spans of the table; the span that ends last is the last one."""

    batches: list[FileBatch] = field(default_factory=list)
    spans: list[TableSpan] = field(default_factory=list)


def make_plan(asked: Asked, states: CellStates, files: Mapping[int, MirrorFile]) -> ReadPlan | None:
    """The plan to read all cells; ``files`` are those that may be used. None: the table answers alone."""
    grid = _Grid(asked, states, set(files))
    if not grid.files.any():
        return None
    spans = grid.spans()
    if len(spans) > MOST_SPANS:
        grid.leave_months(spans)
        spans = grid.spans()
        if len(spans) > MOST_SPANS or not grid.files.any():
            return None
    return ReadPlan(grid.batches(files), spans)


class _Grid:
    """The cells as a matrix of instruments and cells: rows in each, and the file that has them (0: the table)."""

    def __init__(self, asked: Asked, states: CellStates, usable: set[int]) -> None:
        self.asked = asked
        width = asked.cell_days
        self.first = int(states.days.min()) if len(states.days) else asked.first
        count = (int(states.days.max()) - self.first) // width + 1 if len(states.days) else 0
        shape = (len(asked.ids), count)
        self.rows, self.files = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        numbers = np.array(asked.numbers)
        order = np.argsort(numbers)
        places = order[np.searchsorted(numbers[order], states.instruments)]
        cells = (states.days - self.first) // width
        self.rows[places, cells] = states.rows
        ok = np.isin(states.files, list(usable)) & (states.rows > 0)
        self.files[places[ok], cells[ok]] = states.files[ok]

    def spans(self) -> list[TableSpan]:
        """Runs of cells with rows that no file has, the same run of several instruments together."""
        width, found = self.asked.cell_days, dict[tuple[int, int], list[int]]()
        fresh, missing = self.files > 0, (self.rows > 0) & (self.files == 0)
        for place in np.flatnonzero(missing.any(axis=1)).tolist():
            cells = np.flatnonzero(missing[place])
            # a run may go over cells without rows, but not over one that a file has
            between = np.cumsum(fresh[place])[cells]
            for _, run in groupby(zip(cells.tolist(), between.tolist(), strict=True), key=lambda each: each[1]):
                days = [self.first + cell * width for cell, _ in run]
                found.setdefault((days[0], days[-1] + width), []).append(place)
        return [TableSpan(*days, tuple(places)) for days, places in sorted(found.items(), key=lambda one: one[0][::-1])]

    def leave_months(self, spans: Sequence[TableSpan]) -> None:
        """Leave the months of the spans to the table."""
        days = self.first + np.arange(self.files.shape[1]) * self.asked.cell_days
        months = days.astype("M8[D]").astype("M8[M]")
        for span in spans:
            touched = (days >= span.first) & (days < span.until)
            self.files[:, np.isin(months, months[touched])] = 0

    def batches(self, files: Mapping[int, MirrorFile]) -> list[FileBatch]:
        """Batches of files of one instrument each, in the order of instruments, then those of several."""
        used = {number: files[number] for number in np.unique(self.files[self.files > 0]).tolist()}
        made: list[FileBatch] = []
        for place in range(len(self.rows)):
            mine = [used[number] for number in np.unique(self.files[place]).tolist() if number in used]
            alone = sorted((file for file in mine if file.instrument_id is not None), key=_begin)
            for layer in _layers(alone):
                self._add(made, layer, [place], BATCH_ROWS)
        every = list(range(len(self.rows)))
        shared = sorted((file for file in used.values() if file.instrument_id is None), key=_begin)
        for layer in _layers(shared):
            apart = len(made)
            for file in layer:
                self._add(made, [file], every, SHARED_ROWS, since=apart)
        return made

    def _add(
        self, made: list[FileBatch], files: list[MirrorFile], places: list[int], most: int, since: int = 0
    ) -> None:
        """Append files to the last batch while it is small, else as a new batch."""
        mine = self.files[places]
        # `isin` is slow for one
        taken = mine == files[0].file_id if len(files) == 1 else np.isin(mine, [file.file_id for file in files])
        rows = int(self.rows[places][taken].sum())
        last = made[-1] if len(made) > since else None
        if (
            last is not None
            and last.rows + rows <= most
            and (last.files[-1].instrument_id is None) == (files[0].instrument_id is None)
        ):
            if last.places == places:
                last.taken |= taken
            elif not set(last.places) & set(places):
                last.taken, last.places = np.concatenate([last.taken, taken]), last.places + places
            else:
                last = None
            if last is not None:
                last.files, last.rows = last.files + files, last.rows + rows
                return
        made.append(FileBatch(files, places, self.first, taken, rows))


def _begin(file: MirrorFile) -> tuple[object, int]:
    return file.first_day, file.file_id


def _layers(files: Sequence[MirrorFile]) -> list[list[MirrorFile]]:
    """The files, sorted by their first day, in groups without overlap: an older file may still hold rows of a day that
    a newer one has."""
    layers: list[list[MirrorFile]] = []
    for file in files:
        free = next((layer for layer in layers if layer[-1].end_day <= file.first_day), None)
        if free is None:
            layers.append([file])
        else:
            free.append(file)
    return layers
