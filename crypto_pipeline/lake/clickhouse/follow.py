"""Bringing the mirror up to date: the coverage cells whose data version or number of bars is another one.

A killed run is run again: rows are sent before the state of their cells, and sending a row twice changes nothing. A
version that rises while its rows are read is not stated, so the next run reads the cell again. Long spans come from
the mirror of Parquet files where it is fresh (``lake.reads``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.lake.clickhouse.changes import changes
from crypto_pipeline.lake.clickhouse.tables import CONTENT, KEY, MirrorTables
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.sessions.exclusive import exclusively
from crypto_pipeline.store.mirror import clickhouse as marks
from crypto_pipeline.store.mirror.clickhouse import CELLS_TO_MIRROR, cells_to_mirror
from crypto_pipeline.store.reads.bars import BarReader

#: Bars of one batch: its frames fit into some hundred megabytes.
BATCH_ROWS = 500_000
_LOCK = 0x436C69636B  # "Click"
_CELL = ["instrument_id", "day"]
Progress = Callable[[str], object]


@dataclass(slots=True)
class Followed:
    """What a run did: coverage cells and bars that it read, copies that it sent, bars that left, and cells per
    timeframe. ``compared_all``: the mirror was not of a state that this database knows.
    """

    cells: int = 0
    bars_read: int = 0
    copies_sent: int = 0
    bars_removed: int = 0
    compared_all: bool = False
    by_timeframe: dict[str, int] = field(default_factory=dict)


def follow(
    store: Store,
    tables: MirrorTables,
    target: str,
    timeframes: Sequence[Timeframe] = tuple(Timeframe),
    progress: Progress = lambda text: None,
) -> Followed:
    """Bring the mirror to the bars that PostgreSQL has now. Raises StoreError, also if another run is at work.

    ``target`` names the mirror in ``lake.clickhouse``.
    """
    done = Followed()
    with exclusively(store.connections, _LOCK, "ClickHouse mirror") as require_lock:
        tables.prepare()
        mark = tables.mark()
        if mark not in marks.known_marks(store.connections, target) | {""}:
            done.compared_all = True
            tables.doubt()
        _remark(store, tables, target)
        tables.set_symbols(store.symbols.names())
        for timeframe in timeframes:
            for batch, bars in _read_ahead(store, timeframe, due(store, tables, timeframe)):
                require_lock()
                _bring(tables, timeframe, batch, bars, done)
                done.cells += batch.height
                done.by_timeframe[str(timeframe)] = done.by_timeframe.get(str(timeframe), 0) + batch.height
                progress(f"{timeframe}: {batch.height} cells, {done.copies_sent:,} bars sent so far")
        _remark(store, tables, target)
    return done


def due(store: Store, tables: MirrorTables, timeframe: Timeframe) -> pl.DataFrame:
    """Cells that differ, in CELLS_TO_MIRROR as PostgreSQL has them (0 rows: the cell left) and ``known``: whether the
    mirror states anything of the cell.
    """
    now = cells_to_mirror(store.connections, timeframe)
    there = tables.states(timeframe)
    both = now.join(there, on=_CELL, how="full", coalesce=True, suffix="_there")
    had, has = pl.col("rows_there").fill_null(0), pl.col("rows").fill_null(0)
    # an emptied cell is nothing, whatever its version was
    other = (had != has) | ((has > 0) & (pl.col("data_version") != pl.col("data_version_there")))
    known = pl.col("rows_there").is_not_null().alias("known")
    return both.filter(other).select(*_CELL, pl.col("data_version").fill_null(0), has.alias("rows"), known)


def _remark(store: Store, tables: MirrorTables, target: str) -> None:
    new = uuid.uuid4().hex
    marks.set_mark(store.connections, target, new, tables.mark())
    tables.set_mark(new)


def _batches(cells: pl.DataFrame, timeframe: Timeframe) -> Iterator[pl.DataFrame]:
    """Cells to read together: stretches of days of some instruments, newest first. Days that stand alone are read
    alone, so that a healed day does not read its month.
    """
    period = "1mo" if timeframe.minutes < Timeframe.H1.minutes else "1y"
    parts = cells.sort("day", "instrument_id").with_columns(pl.col("day").dt.truncate(period).alias("period"))
    for part in reversed(parts.partition_by("period", maintain_order=True)):
        days, numbers = part["day"].n_unique(), part["instrument_id"].n_unique()
        groups = [part] if 2 * part.height > days * numbers else part.partition_by("day", maintain_order=True)
        for group in groups:
            counted = group.sort("instrument_id", "day").with_columns(pl.col("rows").cum_sum().alias("until"))
            # an instrument goes as a whole
            number = pl.col("until").last().over("instrument_id") // BATCH_ROWS
            for batch in counted.with_columns(number.alias("batch")).partition_by("batch", maintain_order=True):
                yield batch.drop("period", "until", "batch")


def _read_ahead(store: Store, timeframe: Timeframe, cells: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Batches of cells with their bars of now; each is read while the one before it is sent."""
    with ThreadPoolExecutor(1, thread_name_prefix="clickhouse") as pool:
        before: tuple[pl.DataFrame, Future[pl.DataFrame]] | None = None
        for batch in _batches(cells, timeframe):
            reading = pool.submit(bars_of_cells, store, long_reads(store), timeframe, *_span(batch, timeframe), batch)
            if before is not None:
                yield before[0], before[1].result()
            before = batch, reading
        if before is not None:
            yield before[0], before[1].result()


def _span(cells: pl.DataFrame, timeframe: Timeframe) -> tuple[datetime, datetime]:
    first, last = cells["day"].min(), cells["day"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    return midnight(first), midnight(last) + timedelta(days=timeframe.cell_days)


def _bring(tables: MirrorTables, timeframe: Timeframe, cells: pl.DataFrame, now: pl.DataFrame, done: Followed) -> None:
    unknown = cells.filter(~pl.col("known"))
    # what is sent before a kill is found again, even if its cell leaves PostgreSQL meanwhile
    tables.set_states(timeframe, unknown.with_columns(data_version=pl.lit(0, pl.Int64), rows=pl.lit(1, pl.Int64)))
    numbers = cells["instrument_id"].unique().sort().to_list()
    there = tables.copies(numbers, timeframe, *_span(cells, timeframe))
    there = there.with_columns(pl.col("open_time").dt.date().alias("day")).join(cells, on=_CELL, how="semi")
    sent = changes(now, there.drop("day"))
    tables.write(timeframe, sent)
    # what was read, not what was counted: a bar may have come in between
    counted = now.group_by(*_CELL).agg(pl.len().cast(pl.Int64).alias("rows"))
    tables.set_states(
        timeframe,
        cells.drop("rows").join(counted, on=_CELL, how="left").with_columns(pl.col("rows").fill_null(0)).select(
            *CELLS_TO_MIRROR
        ),
    )  # fmt: skip
    removed = int(sent["removed"].sum())
    done.bars_read += now.height
    done.bars_removed += removed
    done.copies_sent += sent.height - removed


def bars_of_cells(
    store: Store, reader: BarReader, timeframe: Timeframe, start: datetime, end: datetime, cells: pl.DataFrame
) -> pl.DataFrame:
    """Bars of ``cells`` in ``[start, end)`` as ``reader`` has them: KEY, ``day``, CONTENT and ``data_version`` of the
    cell.
    """
    names, numbers = store.symbols.names(), cells["instrument_id"].unique().sort()
    chosen = {names[number]: number for number in numbers if number in names}
    found = reader.read(list(chosen), timeframe, start, end, columns=["instrument", "open_time", *CONTENT])
    # an empty mapping, as where all were deleted, has no type
    number = pl.col("instrument").replace_strict(chosen or {"": 0}, return_dtype=pl.Int32).alias("instrument_id")
    keyed = found.with_columns(number, pl.col("open_time").dt.date().alias("day"))
    version = cells.select(*_CELL, pl.col("data_version").cast(pl.UInt64))
    return keyed.join(version, on=_CELL, how="inner").select(*KEY, "day", *CONTENT, "data_version")
