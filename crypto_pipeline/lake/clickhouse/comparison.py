"""The mirror held against PostgreSQL: all bars of some months of some instruments, chosen at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from crypto_pipeline.lake.clickhouse.follow import bars_of_cells, due
from crypto_pipeline.lake.clickhouse.tables import CONTENT, KEY, MirrorTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.store.mirror.clickhouse import CELLS_TO_MIRROR, cells_to_mirror

#: Bars of each side of one comparison: all bars of a small deployment, a part of a large one.
COMPARED_ROWS = 1_000_000
_CELL = ["instrument_id", "day"]


@dataclass(slots=True)
class MirrorComparison:
    """Bars and cells that were compared, cells that wait for the next run, and what differs in words."""

    bars: int = 0
    cells: int = 0
    waiting: int = 0
    differences: list[str] = field(default_factory=list)


def compare(
    store: Store,
    tables: MirrorTables,
    timeframes: Sequence[Timeframe] = tuple(Timeframe),
    most_rows: int = COMPARED_ROWS,
    chosen_by: random.Random | None = None,
) -> MirrorComparison:
    """Compare about ``most_rows`` bars that the mirror should have, to the last digit. Raises StoreError.

    Cells that differ are forgotten, so that the next run brings them again.
    """
    found = MirrorComparison()
    pieces: list[tuple[Timeframe, pl.DataFrame]] = []
    for timeframe in timeframes:
        waiting = due(store, tables, timeframe)
        found.waiting += waiting.height
        fresh = cells_to_mirror(store.connections, timeframe).join(waiting, on=_CELL, how="anti")
        month = fresh.with_columns(pl.col("day").dt.truncate("1mo").alias("month"))
        pieces += [(timeframe, part.drop("month")) for part in month.partition_by("instrument_id", "month")]
    (chosen_by or random.SystemRandom()).shuffle(pieces)
    for timeframe, cells in pieces:
        if found.bars >= most_rows:
            break
        _compare(store, tables, timeframe, cells.sort("day"), found)
    return found


def _compare(
    store: Store, tables: MirrorTables, timeframe: Timeframe, cells: pl.DataFrame, found: MirrorComparison
) -> None:
    first, last = cells["day"][0], cells["day"][-1]
    assert isinstance(first, date)
    assert isinstance(last, date)
    start, end = midnight(first), midnight(last) + timedelta(days=timeframe.cell_days)
    number = int(cells["instrument_id"][0])
    ours = tables.copies([number], timeframe, start, end).filter(~pl.col("removed"))
    theirs = bars_of_cells(store, store.reader, timeframe, start, end, cells)
    # what was written meanwhile is neither right nor wrong
    still = cells_to_mirror(store.connections, timeframe).join(cells, on=list(CELLS_TO_MIRROR), how="semi")
    ours, theirs = (_of_cells(side, still) for side in (ours, theirs))
    found.bars += theirs.height
    found.cells += still.height
    if ours.equals(theirs):
        return
    differ = pl.concat([ours, theirs]).filter(~pl.concat([ours, theirs]).is_duplicated())
    days = differ["open_time"].dt.date().unique().sort()
    name = store.symbols.names()[number]
    bars = differ.select(KEY).n_unique()
    found.differences.append(f"{name} {timeframe}: {bars} bars differ on {', '.join(map(str, days.head(3)))}")
    doubted = still.filter(pl.col("day").is_in(days.to_list()))
    unknown = doubted.with_columns(data_version=pl.lit(0, pl.Int64), rows=pl.lit(1, pl.Int64))
    tables.set_states(timeframe, unknown)


def _of_cells(bars: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    day = pl.col("open_time").dt.date().alias("day")
    return bars.with_columns(day).join(cells, on=_CELL, how="semi").select(*KEY, *CONTENT).sort(KEY)
