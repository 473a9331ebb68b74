"""Plain pages of the mirror's files: where the values of a column lie in a file, so that they are copied, not decoded.

A file of one instrument has its prices and volumes as the Parquet format's plain doubles, neither packed nor nullable
(``store.archive.parquet.ParquetOut``): the last ``8 × rows`` bytes of a column's part of a row group are its values,
least significant byte first. Open times of a row group without a hole follow from its first and last one.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.datasets import PLAIN_COLUMNS

Numbers = npt.NDArray[np.int64]
#: Bytes of a page's header at most. The headers of two pages have more, and then values do not lie side by side.
_MOST_HEADER = 32
_WIDTH = 8
#: Layouts that a process remembers; one has about 2 kB.
_MOST_LAYOUTS = 20_000


class ShortFileError(OSError):
    """A file ends before the values that its end told of."""


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Places of values in one file, and the open times of its rows.

    Rows ``starts[n]`` to ``starts[n + 1]`` are row group ``n``; ``offsets`` has a row per group and a column per column
    of PLAIN_COLUMNS. Bars without a hole between them are a run: run ``n`` begins with row ``run_rows[n]`` at
    ``run_times[n]`` (Unix ms), and its bars are ``step`` ms apart. ``complete``: whether all bars are complete.
    """

    starts: Numbers
    offsets: Numbers
    run_rows: Numbers
    run_times: Numbers
    step: int
    complete: bool

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return int(self.starts[-1])

    def row_at(self, moment: int) -> int:
        """The first row whose open time is ``moment`` (Unix ms) or later."""
        run = int(self.run_times.searchsorted(moment, "right")) - 1
        if run < 0:
            return 0
        end = int(self.run_rows[run + 1]) if run + 1 < len(self.run_rows) else self.rows
        return min(end, int(self.run_rows[run]) - (int(self.run_times[run]) - moment) // self.step)

    def time_of(self, row: int) -> int:
        """Open time of a row in Unix ms."""
        run = int(self.run_rows.searchsorted(row, "right")) - 1
        return int(self.run_times[run]) + (row - int(self.run_rows[run])) * self.step

    def times(self, first: int, until: int) -> Numbers:
        """Open times of the rows ``[first, until)`` in Unix ms."""
        low, high = self.run_rows.searchsorted([first, until - 1], "right") - 1
        begins = self.run_times[low : high + 1] - self.run_rows[low : high + 1] * self.step
        found = np.arange(first * self.step, until * self.step, self.step, dtype=np.int64)
        if len(begins) == 1:
            found += begins[0]
        else:
            bounds = np.concatenate([[first], self.run_rows[low + 1 : high + 1], [until]])
            found += np.repeat(begins, np.diff(bounds))
        return found


class Layouts:
    """The layouts of files, remembered by their hashes. Thread-safe."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, int], FileLayout | None] = OrderedDict()
        self._lock = Lock()

    def of(self, file: MirrorFile, path: Path, step: int) -> FileLayout | None:
        """The layout of a file whose bars are ``step`` ms apart; None if its values are packed otherwise.

        Raises OSError or an error of pyarrow when the file cannot be read.
        """
        key = (file.sha256, step)
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        found = layout(path, step)
        with self._lock:
            self._found[key] = found
            if len(self._found) > _MOST_LAYOUTS:
                self._found.popitem(last=False)
        return found


def layout(path: Path, step: int) -> FileLayout | None:
    """Read a file's end; None if the values of PLAIN_COLUMNS are not plain ones."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        meta = file.metadata
        schema = file.schema
        places = {schema.column(number).name: number for number in range(len(schema))}
        if not {"open_time", "complete", *PLAIN_COLUMNS} <= places.keys():
            return None
        plain = [places[name] for name in PLAIN_COLUMNS]
        if any(schema.column(number).max_definition_level for number in plain):
            return None
        starts, offsets, complete = [0], [], True
        times: list[Numbers] = []
        for number in range(meta.num_row_groups):
            group = meta.row_group(number)
            found = [_offset(group.column(column), group.num_rows) for column in plain]
            if None in found:
                return None
            starts.append(starts[-1] + group.num_rows)
            offsets.append(found)
            times.append(_times(file, number, places["open_time"], step))
            marked = group.column(places["complete"]).statistics
            complete = complete and marked is not None and marked.has_min_max and bool(marked.min)
    joined = np.concatenate(times) if times else np.zeros(0, np.int64)
    breaks = np.flatnonzero(np.diff(joined) != step) + 1
    rows = np.concatenate([[0], breaks]).astype(np.int64) if len(joined) else breaks
    return FileLayout(np.array(starts), np.array(offsets, np.int64), rows, joined[rows], step, complete)


def _offset(chunk: Any, rows: int) -> int | None:
    """Where the values of a column in a row group begin; None if they are packed or in several pages."""
    size = int(chunk.total_compressed_size)
    header = size - rows * _WIDTH
    plain = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page and chunk.num_values == rows
    if not plain or not 0 < header <= _MOST_HEADER or chunk.physical_type != "DOUBLE":
        return None
    return int(chunk.data_page_offset) + header


def _times(file: Any, number: int, column: int, step: int) -> Numbers:
    """Open times of a row group. They are decoded only if a bar is absent in it."""
    group = file.metadata.row_group(number)
    known = group.column(column).statistics
    if known is not None and known.has_min_max:
        first, last = (round(moment.timestamp() * 1000) for moment in (known.min, known.max))
        if last - first == (group.num_rows - 1) * step:
            return np.arange(first, last + 1, step, dtype=np.int64)
    table = file.read_row_group(number, columns=["open_time"], use_threads=False)
    return np.asarray(table.column(0).cast("int64").to_numpy(), np.int64)


def copy_values(
    path: Path,
    places: FileLayout,
    first: int,
    until: int,
    columns: Sequence[str],
    out: Sequence[npt.NDArray[np.float64]],
) -> None:
    """Copy rows ``[first, until)`` of ``columns`` into the arrays, one for each column. Raises OSError."""
    chosen = [PLAIN_COLUMNS.index(name) for name in columns]
    begin = int(places.starts.searchsorted(first, "right")) - 1
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for group in range(begin, len(places.offsets)):
            low, high = max(first, int(places.starts[group])), min(until, int(places.starts[group + 1]))
            if low >= high:
                break
            skipped = (low - int(places.starts[group])) * _WIDTH
            for column, array in zip(chosen, out, strict=True):
                part = array[low - first : high - first].view(np.uint8).data
                if os.preadv(descriptor, [part], int(places.offsets[group, column]) + skipped) != len(part):
                    raise ShortFileError(f"{path} ends too early")
    finally:
        os.close(descriptor)
