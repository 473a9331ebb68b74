"""Files of the mirror for tests: those that are due at a moment, made one after the other."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import rows
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.parquet import NARROW_GROUP_ROWS, ParquetOut
from crypto_pipeline.store.mirror import catalogue, cells
from crypto_pipeline.store.mirror.catalogue import MirrorFile
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorMoment


def mirror_bars(
    store: Store, folder: Path, of: MirrorSeries, moment: MirrorMoment, wanted: Callable[[FileSpan], bool] | None = None
) -> list[Path]:
    """Make the files of bars that are due and ``wanted``; return their paths."""
    storage = ArchiveStorage(moment.base_url)
    made = []
    for due in store.connections.run(cells.due, of, moment):
        if wanted is None or wanted(due.span):
            made.append(_make(store, storage, folder, due.span, moment))
    return made


def mirror_file(**changes: Any) -> MirrorFile:
    """A current file of the catalogue that has no content; ``changes`` are fields of it."""
    fields = dict.fromkeys(field.name for field in dataclasses.fields(MirrorFile))
    known = {"file_id": 1, "dataset": "bars", "series": "1m", "instrument_id": 1, "status": "current"}
    return MirrorFile(**(fields | known | changes))


def _make(store: Store, storage: ArchiveStorage, folder: Path, span: FileSpan, moment: MirrorMoment) -> Path:
    run, names = store.connections.run, store.symbols.names()
    within = run(cells.within, span, moment)
    numbers = sorted(set(within["instrument_id"].to_list()), key=lambda number: names[number])
    path = folder / f"{secrets.token_hex(6)}.parquet"
    begin, end = midnight(span.first_day), midnight(span.end_day)
    with ParquetOut(path, "bars", plain=span.plain) as file:
        frame = run(rows.bars, {number: names[number] for number in numbers}, span.of.timeframe, begin, end)
        for part in frame.iter_slices(NARROW_GROUP_ROWS):
            file.add(part)
    newest = frame["recorded_at"].max()
    assert isinstance(newest, datetime)
    return _keep(store, storage, span, path, (file.tally.rows, newest), within)


def _keep(
    store: Store,
    storage: ArchiveStorage,
    span: FileSpan,
    path: Path,
    content: tuple[int, datetime | None],
    within: pl.DataFrame,
) -> Path:
    """Catalogue and store a file, and switch its days to it."""
    run, place = store.connections.run, f"{secrets.token_hex(8)}.parquet"
    rows_in_it, newest = content
    entry = (rows_in_it, path.stat().st_size, sha256(path), newest)
    number = run(catalogue.add, span, (storage.url, place), entry)
    storage.put(place, path)
    run(catalogue.mark_verified, number)
    run(catalogue.switch, span, number, within)
    assert storage.folder is not None
    return storage.folder / place
