"""Which files belong in Iceberg tables: every bar once, whatever mirror and archive are in the middle of."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.iceberg.lake_files import lake_files
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.cells import MIRROR_CELLS
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline_tests.builders.bars import SYMBOLS, series

MARCH = date(2025, 3, 1)
OF = MirrorSeries.of_bars(Timeframe.M1)


def mirror(store: Store, instrument: int | None, days: list[int], cells: list[tuple[int, int]], name: str) -> None:
    """A current file of the mirror with ten rows in each cell (instrument, day of March)."""
    first, last = (date(2025, 3, day) for day in (days[0], days[-1]))
    span = FileSpan(OF, instrument, first, last + timedelta(days=1))
    number = store.connections.run(catalogue.add, span, ("file:///m", name), (10 * len(cells), 1, "0", None))
    store.connections.run(catalogue.mark_verified, number)
    rows = [(one, date(2025, 3, day), 1, 10) for one, day in cells]
    store.connections.run(catalogue.switch, span, number, pl.DataFrame(rows, schema=MIRROR_CELLS, orient="row"))


def listed(store: Store) -> dict[str, tuple[bool, int]]:
    """Whether each file is listed, and how many of its rows no other file has."""
    return {file.path.partition("/")[0]: (file.whole, file.held) for file in store.connections.run(lake_files)}


def test_a_file_of_which_days_left_waits_until_it_is_made_again(store: Store, tmp_path: Path) -> None:
    first, second = (store.instruments.ids()[symbol] for symbol in SYMBOLS[:2])
    both = [(first, 1), (second, 1)]
    mirror(store, None, [1], both, "day-1")
    mirror(store, None, [2], [(first, 2), (second, 2)], "day-2")
    assert listed(store) == {"day-1": (True, 20), "day-2": (True, 20)}

    mirror(store, first, [1, 2], [(first, 1), (first, 2)], "of-first")
    assert listed(store) == {"day-1": (False, 10), "day-2": (False, 10), "of-first": (True, 20)}
    mirror(store, second, [1, 2], [(second, 1), (second, 2)], "of-second")
    assert listed(store) == {"of-first": (True, 20), "of-second": (True, 20)}

    start = datetime(2025, 3, 1, tzinfo=UTC)
    store.bars.write(series(count=10, start=start), Timeframe.M1)
    bars = dict.fromkeys(Timeframe, Kept(None, None)) | {Timeframe.M1: Kept(30, 90)}
    policy = RetentionPolicy(bars, Kept(7, 7), 0)
    retention = Retention(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch", policy)
    retention.run(datetime(2025, 5, 3, 12, tzinfo=UTC))
    assert listed(store) == {"bars": (True, 40), "of-first": (False, 0), "of-second": (False, 0)}, (
        "a month that is archived is read from the archive's file, whatever the mirror still has"
    )
