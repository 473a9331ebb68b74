"""Writes one file of the mirror: its rows are read, stored and read back, and then its days are switched to it.

Nothing is locked. The versions of the cells are read before the rows and again after them: a day that changed
meanwhile, or of which not all rows were there, stays with the table.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import parquet
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.parquet import NARROW_GROUP_ROWS, ParquetOut
from crypto_pipeline.store.mirror import catalogue, cells, rows
from crypto_pipeline.store.mirror.cells import MIRROR_CELLS
from crypto_pipeline.store.mirror.datasets import FileSpan
from crypto_pipeline.store.mirror.looks import MirrorMoment

#: Sessions of the database that read at the same time.
_READERS = 2
#: Rows that are read at once.
_PIECE_ROWS = 4 * NARROW_GROUP_ROWS
_CELL = ["instrument_id", "day"]


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that was made: its number, and the cells, rows and bytes in it. ``whole``: with all cells of its span."""

    span: FileSpan
    file_id: int
    cells: int
    rows: int
    bytes: int
    whole: bool


@dataclass(slots=True)
class _Written:
    """What was written to a file that is not stored yet."""

    out: ParquetOut
    counted: list[pl.DataFrame]
    newest: datetime | None
    columns: Mapping[str, pl.DataType]


class MirrorWriter:
    """Writes files into ``storage``; ``scratch`` is a folder that nothing else uses."""

    def __init__(self, store: Store, storage: ArchiveStorage, scratch: Path) -> None:
        self._store, self._storage, self._scratch = store, storage, scratch

    def make(self, span: FileSpan, moment: MirrorMoment) -> MadeFile | None:
        """Make the file of a span and switch its days to it. None if no day of it could be read as it is now.

        Raises StoreError when the file cannot be stored, or is not read back as it was written.
        """
        run = self._store.connections.run
        before = run(cells.within, span, moment)
        if before.is_empty():
            return None
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / "rows.parquet"
            written = self._write(span, before, path)
            if written is None:
                return None
            after = run(cells.within, span, moment)
            held = self._held(before, after, written.counted)
            if held.is_empty():
                return None
            number, size = self._keep(span, path, written)
        run(catalogue.switch, span, number, held)
        return MadeFile(span, number, held.height, written.out.tally.rows, size, held.height == before.height)

    def _held(self, before: pl.DataFrame, after: pl.DataFrame, counted: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """The cells of which the file has all rows, and which did not change while they were read."""
        read = pl.concat(counted).group_by(_CELL).agg(pl.col("read").sum())
        same = before.join(after, on=list(MIRROR_CELLS), how="semi")
        return same.join(read, on=_CELL).filter(pl.col("rows") == pl.col("read")).select(*MIRROR_CELLS).sort(_CELL)

    def _write(self, span: FileSpan, wanted: pl.DataFrame, path: Path) -> _Written | None:
        time, written = rows.TIME_COLUMN[span.of.dataset], None
        for frame in self._pieces(span, wanted):
            day = pl.col(time).dt.date().alias("day")
            ready = frame.with_columns(day).join(wanted, on=_CELL, how="semi", maintain_order="left")
            if ready.is_empty():
                continue
            table = ready.drop(_CELL)
            if written is None:
                columns = dict(table.schema)
                written = _Written(ParquetOut(path, span.of.dataset, columns, span.plain), [], None, columns)
            for part in table.iter_slices(NARROW_GROUP_ROWS):
                written.out.add(part)
            counted = ready.group_by(_CELL).agg(pl.len().cast(pl.Int32).alias("read"))
            written.counted.append(counted)
            if "recorded_at" in table.columns:
                newest = table["recorded_at"].max()
                assert isinstance(newest, datetime)
                written.newest = max(newest, written.newest or newest)
        if written is not None:
            written.out.close()
            numbers = wanted["instrument_id"].unique().to_list()
            last = self._store.connections.run(rows.last_change, span, numbers)
            written.newest = max((one for one in (last, written.newest) if one is not None), default=None)
        return written

    def _pieces(self, span: FileSpan, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Rows of some instruments after the others, in the order of their names, with ``instrument_id``.

        The next pieces are read meanwhile.
        """
        names = self._store.symbols.names()
        sizes = dict(wanted.group_by("instrument_id").agg(pl.col("rows").sum()).iter_rows())
        pieces: list[dict[int, str]] = [{}]
        filled = 0
        for number in sorted(sizes, key=lambda number: names[number]):
            if pieces[-1] and filled + sizes[number] > _PIECE_ROWS:
                pieces.append({})
                filled = 0
            pieces[-1][number] = names[number]
            filled += sizes[number]

        def read(chosen: dict[int, str]) -> pl.DataFrame:
            frame = rows.read(self._store.connections, span, chosen)
            numbers = {name: number for number, name in chosen.items()}
            number = pl.col("instrument").replace_strict(numbers, return_dtype=pl.Int32)
            return frame.with_columns(number.alias("instrument_id"))

        with ThreadPoolExecutor(_READERS, thread_name_prefix="mirror") as pool:
            coming: list[Future[pl.DataFrame]] = [pool.submit(read, piece) for piece in pieces[: _READERS + 1]]
            for number in range(len(pieces)):
                frame = coming.pop(0).result()
                if number + _READERS + 1 < len(pieces):
                    coming.append(pool.submit(read, pieces[number + _READERS + 1]))
                yield frame

    def _keep(self, span: FileSpan, path: Path, written: _Written) -> tuple[int, int]:
        """Catalogue, store and verify a file; return its number and size."""
        run = self._store.connections.run
        digest, size, tally = sha256(path), path.stat().st_size, written.out.tally
        place = _place(span, digest)
        number = run(catalogue.add, span, (self._storage.url, place), (tally.rows, size, digest, written.newest))
        self._storage.put(place, path)
        with self._storage.fetched(place) as stored:
            parquet.verify(stored, span.of.dataset, digest, tally, columns=written.columns)
        run(catalogue.mark_verified, number)
        return number, size


def _place(span: FileSpan, digest: str) -> str:
    """A path that no other file ever has, so that removing one file never removes another."""
    series = re.sub(r"[^A-Za-z0-9/_-]", "_", span.of.series) or "all"
    whom = "all" if span.instrument_id is None else f"{span.instrument_id:06d}"
    unique = f"{digest[:16]}-{secrets.token_hex(3)}"
    return f"{span.of.dataset}/{series}/{span.first_day:%Y-%m}/{span.first_day}.{span.end_day}.{whom}.{unique}.parquet"
