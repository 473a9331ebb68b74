"""Rows of the mirror's files: read whole cells, prove each file before its first use, count what came."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.lake.reads.plan import Asked, FileBatch
from crypto_pipeline.market.times import EPOCH
from crypto_pipeline.store.archive.object_store import local_path, scan_source
from crypto_pipeline.store.archive.proof import HashedFiles
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.mirror.catalogue import MirrorFile

DAY_MS = 86_400_000
_hashed = HashedFiles()


class UnreadableFileError(StoreError):
    """A file of the mirror is missing or damaged. ``file_id`` is its number, None if it is one of several."""

    def __init__(self, why: str, file_id: int | None = None) -> None:
        super().__init__(why)
        self.file_id = file_id


@dataclass(frozen=True, slots=True)
class RowPiece:
    """Rows of one instrument (its position in the order of names), at least one; ``times`` rise, in Unix ms."""

    place: int
    times: npt.NDArray[np.int64]
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class FileColumns:
    """What files are read as: their ``schema``, the name of the ``time`` column, and the ``wanted`` columns.

    ``made`` has columns that files do not have: the expression and dtype of each. ``step``: ms between two rows of an
    instrument where none is absent (None: unknown).
    """

    schema: Mapping[str, pl.DataType]
    wanted: Sequence[str]
    time: str = "open_time"
    made: Mapping[str, tuple[pl.Expr, pl.DataType]] = field(default_factory=dict)
    step: int | None = None

    def read(self) -> list[str]:
        """The columns of files that are needed."""
        made = self.made
        sources = [root for name in self.wanted if name in made for root in made[name][0].meta.root_names()]
        names = [name for name in self.wanted if name not in made]
        return list(dict.fromkeys([self.time, *names, *sources]))

    def empty(self) -> pl.DataFrame:
        """A frame of the wanted columns without rows."""
        types = {**self.schema, **{name: dtype for name, (_, dtype) in self.made.items()}}
        return pl.DataFrame(schema={name: types[name] for name in self.wanted})


def read_batch(batch: FileBatch, asked: Asked, columns: FileColumns, begin: int, until: int) -> list[RowPiece]:
    """The rows of the batch's cells with time in ``[begin, until)`` (Unix ms), as pieces in any order.

    Raises UnreadableFileError when a file is missing or damaged, or has another number of rows than is catalogued.
    """
    require_whole(batch.files)
    names = list(asked.ids)
    alone = len(batch.places) == 1
    read = [name for name in columns.read() if not (alone and name == "instrument")]
    if not alone and "instrument" not in read:
        read = ["instrument", *read]
    cells = np.flatnonzero(batch.taken.any(axis=0))
    low = batch.first + int(cells[0]) * asked.cell_days
    batch = replace(batch, first=low, taken=batch.taken[:, cells[0] : cells[-1] + 1])
    rows = _scan(batch, columns, low, low + batch.taken.shape[1] * asked.cell_days)
    if alone and batch.files[0].instrument_id is None:
        rows = rows.filter(pl.col("instrument") == names[batch.places[0]])  # several are chosen later: `is_in` is slow
    try:
        frame = rows.select(read).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UnreadableFileError(f"the mirror cannot be read: {error}") from error
    return _pieces(frame, batch, asked, columns, (begin, until))


def _scan(batch: FileBatch, columns: FileColumns, low: int, high: int) -> pl.LazyFrame:
    rows = pl.scan_parquet(
        [scan_source(file.url) for file in batch.files],
        schema=dict(columns.schema),
        hive_partitioning=False,
        glob=False,
        missing_columns="insert",  # a file that is older than a column gets nulls in it
    )
    time, dtype = pl.col(columns.time), columns.schema[columns.time]
    first, last = batch.files[0].first_day, batch.files[-1].end_day
    if (first - EPOCH.date()).days < low:
        rows = rows.filter(time >= pl.lit(EPOCH + timedelta(days=low), dtype))
    if (last - EPOCH.date()).days > high:
        rows = rows.filter(time < pl.lit(EPOCH + timedelta(days=high), dtype))
    return rows


def _pieces(
    frame: pl.DataFrame, batch: FileBatch, asked: Asked, columns: FileColumns, span: tuple[int, int]
) -> list[RowPiece]:
    """The rows of the taken cells within ``span``, cut where the instrument changes or time does not rise."""
    names = list(asked.ids)
    times = frame[columns.time].to_physical().to_numpy()
    alone = len(batch.places) == 1
    if alone:
        position = np.zeros(1, np.int64)
        lengths = np.array([len(times)])
    else:
        runs = frame["instrument"].rle().struct.unnest()
        lengths = runs["len"].to_numpy().astype(np.int64)
        index = {names[place]: number for number, place in enumerate(batch.places)}
        # a file of several instruments has others too, which are in the last position
        position = np.array([index.get(name, len(index)) for name in runs["value"]], np.int64)
    kept = _kept(batch, asked, times, position, lengths)
    if not alone and "instrument" not in columns.wanted:
        frame = frame.drop("instrument")
    begin, until = span
    if kept is not None or (len(times) and (times.min() < begin or times.max() >= until)):
        inside = (times >= begin) & (times < until)
        inside = inside if kept is None else inside & kept
        lengths = np.add.reduceat(inside, np.cumsum(lengths) - lengths) if len(times) else lengths
        frame, times = frame.filter(pl.Series(inside)), times[inside]
    places = [*batch.places, -1]
    return _cut(frame, times, [places[number] for number in position.tolist()], lengths, names, columns)


def _kept(
    batch: FileBatch, asked: Asked, times: npt.NDArray[np.int64], position: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_] | None:  # fmt: skip
    """Which rows belong to taken cells; None: all of them. Raises UnreadableFileError if their number is wrong."""
    others = int(position.max(initial=0)) == len(batch.places)
    if batch.rows == len(times) and batch.taken.all() and not others:
        return None
    cells = (times // DAY_MS - batch.first) // asked.cell_days
    inside = (cells >= 0) & (cells < batch.taken.shape[1])
    none = np.zeros((1, batch.taken.shape[1]), np.bool_)
    chosen = np.concatenate([batch.taken, none])[np.repeat(position, lengths), np.where(inside, cells, 0)]
    taken = inside & chosen
    if int(taken.sum()) != batch.rows:
        one = batch.files[0].file_id if len(batch.files) == 1 else None
        raise UnreadableFileError(
            f"{batch.files[0].url} or a file beside it has {taken.sum()} rows, not {batch.rows}", one
        )
    return None if len(times) == batch.rows else taken


def _cut(
    frame: pl.DataFrame, times: npt.NDArray[np.int64], places: Sequence[int], lengths: npt.NDArray[np.int64],
    names: Sequence[str], columns: FileColumns,
) -> list[RowPiece]:  # fmt: skip
    pieces: list[RowPiece] = []
    start = 0
    for place, length in zip(places, lengths.tolist(), strict=True):
        if length:
            part = frame.slice(start, length) if length < frame.height else frame
            pieces.append(RowPiece(place, times[start : start + length], _finished(part, names[place], columns)))
        start += length
    return pieces


def _finished(frame: pl.DataFrame, name: str, columns: FileColumns) -> pl.DataFrame:
    """The wanted columns, in their order."""
    for each in columns.wanted:
        if each == "instrument" and each not in frame.columns:
            one = pl.Series("instrument", [name], dtype=pl.String)
            frame = frame.with_columns(one.new_from_index(0, frame.height))
        elif each in columns.made:
            frame = frame.with_columns(columns.made[each][0].alias(each))
    return frame.select(columns.wanted)


def require_whole(files: Sequence[MirrorFile]) -> None:
    """Raise UnreadableFileError if a local file is missing or damaged. Each file is read once per process.

    A Parquet reader reads many flipped bits as other values without an error. Files in an object store, which keeps
    checksums of its own, are not downloaded for this.
    """
    unseen = []
    for file in files:
        path = local_path(file.url)
        try:
            if path is not None and not _hashed.has(path, file.sha256):
                unseen.append((file, path))
        except OSError as error:
            raise UnreadableFileError(f"{file.url}: {error.strerror}", file.file_id) from None
    if len(unseen) == 1:
        _prove(unseen[0])
    elif unseen:
        with ThreadPoolExecutor(min(len(unseen), os.cpu_count() or 1), thread_name_prefix="prove") as pool:
            list(pool.map(_prove, unseen))


def forget_proofs() -> None:
    """Forget all results, so that every file is hashed again before its next use, as in a new process."""
    _hashed.forget()


def _prove(one: tuple[MirrorFile, Path]) -> None:
    file, path = one
    try:
        found = _hashed.read(path)
    except OSError as error:
        raise UnreadableFileError(f"{file.url}: {error.strerror}", file.file_id) from None
    if found != file.sha256:
        raise UnreadableFileError(f"{file.url} is damaged: its SHA-256 is {found}, not {file.sha256}", file.file_id)
