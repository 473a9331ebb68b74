"""Features through the mirror equal those of the table. Guards I10 (docs/invariants.md)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.lake.reads import features as reads
from crypto_pipeline.lake.reads import files
from crypto_pipeline.lake.reads.features import feature_reads
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage

FIRST = datetime(2025, 3, 30, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("BTC-USDT", "ETH-USDT", "DOGE-USDT")


def write(store: Store, first: datetime, days: int, seed: int, computed_from: int) -> None:
    """Write days of features with random values; some are null."""
    rng = np.random.default_rng(seed)
    times = [first + timedelta(minutes=15) * number for number in range(96 * days)]
    known = store.features.read(NAMES[:1], FIRST, FIRST)
    base = pl.DataFrame({"instrument": NAMES}).join(pl.DataFrame({"open_time": times}), how="cross")
    columns = {"available_at": pl.col("open_time") + timedelta(minutes=15)}
    for name, dtype in known.schema.items():
        if name in ("instrument", "open_time", "available_at"):
            continue
        values = rng.random(base.height)
        drawn = pl.Series(values > 0.5) if dtype == pl.Boolean else pl.Series(values * 3).cast(dtype)
        columns[name] = pl.when(pl.Series(values > 0.1) | pl.lit(name in ("eligible", "regime", "stress"))).then(drawn)
    rows = base.with_columns(**columns).select(known.columns)
    day = pl.col("open_time").dt.date().alias("day")
    cells = (
        rows.select("instrument", day)
        .unique()
        .with_columns(
            computed_from=pl.lit(computed_from, pl.Int64), stored_from=pl.lit(None, pl.Int64), stored_schema=pl.lit("")
        )
    )
    assert store.features.write(rows, cells, "schema", FIRST + 100 * DAY) == rows.height


def test_closed_days_come_from_files_and_days_written_again_from_the_table(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "TABLE_DAYS", 0)
    files.forget_proofs()
    write(store, FIRST, 5, 1, 1)
    report = MirrorMaker(store, ArchiveStorage(str(tmp_path / "mirror")), tmp_path / "scratch").run(FIRST + 40 * DAY)
    assert (len(report.made), report.left) == (6, 0), "a file of each instrument and month"

    def same(start: datetime = FIRST, end: datetime = FIRST + 9 * DAY, columns: list[str] | None = None) -> None:
        for names in (NAMES, NAMES[1:2]):
            found = feature_reads(store).read(names, start, end, columns)
            assert_frame_equal(found, store.features.read(names, start, end, columns))

    feature = store.features.columns[-1]
    same()
    same(FIRST + timedelta(hours=5, microseconds=1), FIRST + 3 * DAY, [feature, "available_at"])
    write(store, FIRST + 2 * DAY, 1, 2, 2)
    write(store, FIRST + 6 * DAY, 2, 3, 3)
    same()
    same(columns=["open_time", feature])
    before = feature_reads(store).read(NAMES, FIRST, FIRST + DAY)
    store.connections.run(lambda connection: connection.execute("TRUNCATE research.ml_features") and None)
    assert_frame_equal(feature_reads(store).read(NAMES, FIRST, FIRST + DAY), before)
    with pytest.raises(StoreError, match="unknown column 'nonsense'"):
        feature_reads(store).read(NAMES, FIRST, FIRST + DAY, ["nonsense"])
