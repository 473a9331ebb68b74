"""Parquet files of the archive: written row group by row group, and read back to prove that they hold all rows.

A row group has about a month of 1m bars of one instrument, so a read of one instrument opens one row group of a file.
The same rows give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from crypto_pipeline.market.bars import PRICE_COLUMNS, VALUE_COLUMNS
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.rows import FILE_SCHEMAS
from crypto_pipeline.store.columns.bars import OPTIONAL_COUNTS
from crypto_pipeline.store.database.errors import StoreError

#: Names and dtypes of the columns of a file.
Schema = Mapping[str, pl.DataType]
#: Approximate number of rows of a row group.
GROUP_ROWS = 50_000
#: The same for files that are read beside the table: eight days of 1m bars of one instrument. A day of 90 instruments
#: in 90 files of a month comes in 38 ms instead of 58, and 180 days of one instrument as fast as from larger groups.
NARROW_GROUP_ROWS = 11_520
_TEXTS = ("instrument", "source", "venue", "taker_side")
_ADDABLE = (*VALUE_COLUMNS, "quantity")
#: Columns with statistics, which readers filter by; for other columns they would only make the file's footer longer.
_CHOSEN_BY = ["instrument", "open_time", "time", "signal_ts", "complete", "recorded_at", "superseded_at"]
#: Integer columns with delta encoding: most rise from row to row, so differences take a tenth of the space, and less
#: time.
_WHOLE = ("open_time", "revision", "recorded_at", "superseded_at", *OPTIONAL_COUNTS, "time", "trade_id", "first_id",
          "last_id")  # fmt: skip
#: Level of zstd, measured with delta encoding: level 3 saves 8 % more space and takes 20 % more time.
_LEVEL = 1
#: Columns that most reads want are packed by LZ4, the others by zstd. With LZ4 180 days of 1m come in 7 ms instead of
#: 13; a file is 17 % larger. Byte-stream split and dictionaries of prices take longer at any codec.
_FAST = (*PRICE_COLUMNS, "volume")


@dataclass(slots=True)
class Tally:
    """Figures of a file: rows, sums per column, first and last time, and a hash of each row group's rows.

    Two tallies are equal if the rows are equal: the hash covers every value of every row.
    """

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    hashes: list[tuple[int, int]] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame) -> None:
        """Count one row group."""
        time = next(name for name in ("time", "open_time", "signal_ts") if name in frame.columns)
        self.rows += frame.height
        low, high = frame[time].min(), frame[time].max()
        assert isinstance(low, datetime)
        assert isinstance(high, datetime)
        self.first, self.last = min(self.first or low, low), max(self.last or high, high)
        hashed = frame.hash_rows(seed=1).to_numpy()
        self.hashes.append((frame.height, int(hashed.sum(dtype=np.uint64))))
        for name in _ADDABLE:
            if name in frame.columns:
                self.parts.setdefault(name, []).append(float(frame[name].sum()))

    def extend(self, other: Tally) -> None:
        """Append the row groups counted by ``other``."""
        self.rows += other.rows
        self.first = min((one for one in (self.first, other.first) if one is not None), default=None)
        self.last = max((one for one in (self.last, other.last) if one is not None), default=None)
        self.hashes += other.hashes
        for name, parts in other.parts.items():
            self.parts.setdefault(name, []).extend(parts)

    @property
    def sums(self) -> dict[str, float]:
        """Sum of each column; nulls are ignored."""
        return {name: math.fsum(parts) for name, parts in self.parts.items()}

    def difference(self, other: Tally) -> str | None:
        """The first difference of ``other``, in words; None if there is none."""
        if self.rows != other.rows:
            return f"{other.rows:,} rows instead of {self.rows:,}"
        for name, value in self.sums.items():
            # sums of floats depend on the order of additions; the hashes below are exact
            if not math.isclose(value, other.sums.get(name, math.nan), rel_tol=1e-12, abs_tol=1e-9):
                return f"the sum of {name} is {other.sums.get(name)} instead of {value}"
        return None if self.hashes == other.hashes else "other rows than went in"


class ParquetOut(AbstractContextManager["ParquetOut", None]):
    """A new file at ``path``, filled by ``add``. Use ``with``; only ``close`` completes the Parquet file.

    ``columns``: names and dtypes (default: those of ``kind``). ``plain``: columns without nulls whose values are
    neither packed nor encoded, for readers that copy them.
    """

    def __init__(self, path: Path, kind: str, columns: Schema | None = None, plain: Sequence[str] = ()) -> None:
        self.path, self.kind = path, kind
        self.tally = Tally()
        columns = columns or FILE_SCHEMAS[kind]
        names = list(columns)
        schema = pl.DataFrame(schema=columns).to_arrow().schema
        for name in plain:
            number = names.index(name)
            schema = schema.set(number, schema.field(number).with_nullable(False))
        self._schema = schema
        codecs = dict.fromkeys(names, "zstd") | dict.fromkeys(_FAST, "lz4") | dict.fromkeys(plain, "none")
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression={name: codecs[name] for name in names},
            compression_level={name: _LEVEL for name in names if codecs[name] == "zstd"},
            use_dictionary=[name for name in names if name in _TEXTS],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in _WHOLE},
            write_statistics=[name for name in names if name in _CHOSEN_BY],
        )

    def add(self, frame: pl.DataFrame) -> None:
        """Append a frame in the kind's schema as one row group; an empty frame is skipped."""
        if frame.height:
            self.tally.add(frame)
            self._writer.write_table(frame.to_arrow().cast(self._schema), row_group_size=frame.height)

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def row_groups(
    path: Path, kind: str, first: int = 0, step: int = 1, columns: Schema | None = None
) -> Iterator[pl.DataFrame]:
    """Every ``step``-th row group of a file from the ``first`` on, in the kind's schema (or ``columns``)."""
    with pq.ParquetFile(path) as file:
        heights = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        there = set(file.schema_arrow.names)
    # a file that is older than a column gets nulls in it
    chosen = [
        pl.col(name).cast(dtype) if name in there else pl.lit(None, dtype).alias(name)
        for name, dtype in (columns or FILE_SCHEMAS[kind]).items()
    ]
    # by Polars, which decodes in half the time, and is another program than the one that wrote the file
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False).select(chosen)
    for number in range(first, len(heights), step):
        yield scan.slice(sum(heights[:number]), heights[number]).collect()


def verify(
    path: Path,
    kind: str,
    digest: str,
    expected: Tally | None = None,
    rows: int | None = None,
    columns: Schema | None = None,
) -> Tally:
    """Read a whole file again and compare it with its SHA-256, figures and number of rows. Raises StoreError."""
    found = sha256(path)
    if found != digest:
        raise StoreError(f"archive file {path.name} is damaged: its SHA-256 is {found}, not {digest}")
    tally = _tally(path, kind, columns)
    problem = expected.difference(tally) if expected is not None else None
    if problem is None and rows is not None and rows != tally.rows:
        problem = f"{tally.rows:,} rows instead of {rows:,}"
    if problem:
        raise StoreError(f"archive file {path.name} does not hold the written rows: {problem}")
    return tally


def _tally(path: Path, kind: str, columns: Schema | None) -> Tally:
    """The figures of a whole file, computed by two threads."""

    def some(first: int) -> list[Tally]:
        found = []
        for frame in row_groups(path, kind, first, 2, columns):
            found.append(Tally())
            found[-1].add(frame)
        return found

    with ThreadPoolExecutor(2, thread_name_prefix="verify") as pool:
        halves = list(pool.map(some, (0, 1)))
    total = Tally()
    for one in chain.from_iterable(zip_longest(*halves)):
        if one is not None:
            total.extend(one)
    return total


def entry(kind: str, tally: Tally, digest: str, size: int) -> Mapping[str, Any]:
    """Columns of the catalogue about a file's content."""
    return {
        "kind": kind,
        "rows": tally.rows,
        "bytes": size,
        "sha256": digest,
        "min_open_time": tally.first,
        "max_open_time": tally.last,
        "sums": tally.sums,
    }
