"""Rows of files with plain pages: copied into arrays of the whole answer, or kept in memory for the next read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.lake.reads.files import DAY_MS, FileColumns, RowPiece, UnreadableFileError, require_whole
from crypto_pipeline.lake.reads.kept import KeptValues, Values, joined
from crypto_pipeline.lake.reads.pages import FileLayout, Layouts, Numbers, copy_values
from crypto_pipeline.lake.reads.plan import Asked, FileBatch
from crypto_pipeline.market.times import EPOCH
from crypto_pipeline.store.archive.object_store import local_path
from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.datasets import PLAIN_COLUMNS

#: Answers with at most so many rows are read through kept values; larger ones would replace all of them.
KEPT_ROWS = 600_000
#: Answers with at most so many rows are one piece of memory; larger ones have a piece for each file.
ONE_PIECE_ROWS = 1_000_000
#: Files of larger answers are copied by several threads.
_THREAD_ROWS = 200_000
#: Columns that are copied or made, besides those of PLAIN_COLUMNS.
_MADE = ("instrument", "open_time", "complete")
_EPOCH_DAY = EPOCH.toordinal()

_TRUE = pl.Series("complete", [True])
_layouts = Layouts()
_kept = KeptValues()


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows ``[first, until)`` of a file, of the instrument at ``place`` in the order of names."""

    file: MirrorFile
    path: Path
    layout: FileLayout
    place: int
    first: int
    until: int

    @property
    def rows(self) -> int:
        return self.until - self.first


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Rows of files, part after part: the values of all parts together, or of each."""

    asked: Asked
    columns: FileColumns
    parts: Sequence[_Part]
    together: Values | None
    apart: Sequence[Values]

    def pieces(self) -> list[RowPiece]:
        """The rows of each part."""
        apart = self.apart
        if self.together is not None:
            ends = np.cumsum([part.rows for part in self.parts]).tolist()
            apart = [
                self.together.slice(end - part.rows, part.rows) for part, end in zip(self.parts, ends, strict=True)
            ]
        names, longest = list(self.asked.ids), max((part.rows for part in self.parts), default=0)
        complete = _TRUE.new_from_index(0, longest)
        # the parts of an instrument have slices of the same names
        texts = {
            place: pl.Series("instrument", [names[place]]).new_from_index(0, longest)
            for place in {part.place for part in self.parts}
        }
        return [
            RowPiece(part.place, values.times, self._frame(values.columns, texts[part.place].head(part.rows), complete))
            for part, values in zip(self.parts, apart, strict=True)
        ]

    def frame(self) -> pl.DataFrame | None:
        """All rows by instrument and time; None if they are none or too many, or parts are not in this order."""
        rows = sum(part.rows for part in self.parts)
        if not rows or rows > ONE_PIECE_ROWS or not self._ordered():
            return None
        columns = joined(self.apart) if self.together is None else self.together.columns
        places = [part.place for part in self.parts]
        names = pl.Series("instrument", list(self.asked.ids), dtype=pl.String)
        complete = _TRUE.new_from_index(0, rows)
        if len(set(places)) == 1:
            return self._frame(columns, names.new_from_index(places[0], rows), complete)
        numbers = np.repeat(np.array(places, np.uint32), [part.rows for part in self.parts])
        return self._frame(columns, names.gather(pl.Series(numbers)), complete)

    def _ordered(self) -> bool:
        bounds = [
            (part.place, part.layout.time_of(part.first), part.layout.time_of(part.until - 1)) for part in self.parts
        ]
        return all((one[0], one[2]) < two[:2] for one, two in pairwise(bounds))

    def _frame(self, columns: Mapping[str, pl.Series], names: pl.Series, complete: pl.Series) -> pl.DataFrame:
        """The wanted columns in their order. All bars are complete."""
        made = {"instrument": names, "complete": complete.head(len(names))}
        return pl.DataFrame([made.get(name, columns.get(name)) for name in self.columns.wanted])


def forget_kept() -> None:
    """Give up all kept values, so that the next read copies them from the files."""
    _kept.clear()


def read_plain(
    batches: Sequence[FileBatch], asked: Asked, columns: FileColumns, low: int, high: int
) -> tuple[PlainRows, list[FileBatch]]:
    """The rows with open time in ``[low, high)`` (Unix ms) of all batches with plain pages, and the other batches.

    Raises UnreadableFileError when a file is missing, damaged or has another number of rows than is catalogued.
    """
    parts: list[_Part] = []
    left: list[FileBatch] = []
    can = columns.step is not None and set(columns.wanted) <= {*_MADE, *PLAIN_COLUMNS}
    for batch in batches:
        found = _parts(batch, asked, columns, (low, high)) if can else None
        if found is None:
            left.append(batch)
        else:
            parts += found
    rows = sum(part.rows for part in parts)
    try:
        # files of which few rows are wanted are not worth keeping
        if rows <= KEPT_ROWS and 2 * rows >= sum(part.layout.rows for part in parts):
            return PlainRows(asked, columns, parts, None, [_kept_values(part, columns) for part in parts]), left
        return PlainRows(asked, columns, parts, _copied(parts, columns), ()), left
    except OSError as error:
        raise UnreadableFileError(f"the mirror cannot be read: {error}") from error


def _parts(batch: FileBatch, asked: Asked, columns: FileColumns, span: tuple[int, int]) -> list[_Part] | None:
    """The rows of a batch that are taken; None if one of its files is to be decoded."""
    located = [(file, local_path(file.url)) for file in batch.files]
    if any(path is None or file.instrument_id is None for file, path in located):
        return None
    require_whole(batch.files)
    numbers, parts, rows = asked.numbers, list[_Part](), 0
    for file, path in located:
        assert path is not None
        layout = _layout(file, path, columns.step or 0)
        if layout is None or ("complete" in columns.wanted and not layout.complete):
            return None
        place = next(place for place in batch.places if numbers[place] == file.instrument_id)
        for first, until in _taken(batch, asked, file, place, layout):
            rows += until - first
            first, until = max(first, layout.row_at(span[0])), min(until, layout.row_at(span[1]))
            if first < until:
                parts.append(_Part(file, path, layout, place, first, until))
    if rows != batch.rows:
        one = batch.files[0].file_id if len(batch.files) == 1 else None
        raise UnreadableFileError(f"{batch.files[0].url} or a file beside it has {rows} rows, not {batch.rows}", one)
    return parts


def _layout(file: MirrorFile, path: Path, step: int) -> FileLayout | None:
    import pyarrow as pa

    try:
        return _layouts.of(file, path, step)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableFileError(f"{file.url} cannot be read: {error}", file.file_id) from error


def _taken(batch: FileBatch, asked: Asked, file: MirrorFile, place: int, layout: FileLayout) -> list[tuple[int, int]]:
    """Ranges of rows of the cells that are taken from a file."""
    width = asked.cell_days
    days = [(day - _EPOCH_DAY) for day in (file.first_day.toordinal(), file.end_day.toordinal())]
    low, high = (min(max(0, -((batch.first - day) // width)), batch.taken.shape[1]) for day in days)
    cells = batch.taken[batch.places.index(place), low:high]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], cells, [False]]))) + low
    bounds = [layout.row_at((batch.first + int(cell) * width) * DAY_MS) for cell in edges]
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def _copied(parts: Sequence[_Part], columns: FileColumns) -> Values:
    """The rows in arrays of the whole answer, which no other copy is made of."""
    total = sum(part.rows for part in parts)
    wanted = [name for name in columns.wanted if name in PLAIN_COLUMNS]
    arrays = {name: np.empty(total) for name in wanted}
    times: Numbers = np.empty(total, np.int64)
    starts = np.cumsum([0, *(part.rows for part in parts)]).tolist()

    def copy(one: tuple[_Part, int]) -> None:
        part, at = one
        times[at : at + part.rows] = part.layout.times(part.first, part.until)
        out = [arrays[name][at : at + part.rows] for name in wanted]
        copy_values(part.path, part.layout, part.first, part.until, wanted, out)

    work = list(zip(parts, starts, strict=False))
    if total > _THREAD_ROWS:
        with ThreadPoolExecutor(min(len(work), os.cpu_count() or 1), thread_name_prefix="pages") as pool:
            list(pool.map(copy, work))
    else:
        for one in work:
            copy(one)
    return _values(times, arrays, columns)


def _kept_values(part: _Part, columns: FileColumns) -> Values:
    """The part's values from memory, or from its file, which is kept from now on."""
    found = _kept.get(part.file)
    if found is None:
        # one array for all columns, since the system gives large pieces of memory faster than small ones
        block = np.empty((len(PLAIN_COLUMNS), part.layout.rows))
        copy_values(part.path, part.layout, 0, part.layout.rows, PLAIN_COLUMNS, list(block))
        arrays = dict(zip(PLAIN_COLUMNS, block, strict=True))
        found = _values(part.layout.times(0, part.layout.rows), arrays, columns)
        _kept.put(part.file, found)
    return found.slice(part.first, part.rows)


def _values(times: Numbers, arrays: Mapping[str, npt.NDArray[np.float64]], columns: FileColumns) -> Values:
    found = {name: pl.Series(name, array) for name, array in arrays.items()}
    return Values(times, found | {"open_time": pl.Series("open_time", times).cast(columns.schema["open_time"])})
