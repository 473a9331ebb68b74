"""Labels through the mirror equal those of the tables, now and at a past moment. Guards I10 (docs/invariants.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.lake.reads import labels as reads
from crypto_pipeline.lake.reads.labels import label_reads
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline_tests.builders.bars import database_clock

FIRST = datetime(2025, 6, 28, tzinfo=UTC)
END = FIRST + timedelta(days=9)
HASH = "0123456789abcdef"
TABLE = Strategy.DCA.definition.table


def labels(names: Sequence[str], days: Sequence[int], seed: int) -> pl.DataFrame:
    """Three labels of each instrument and day with random values."""
    rng = np.random.default_rng(seed)
    times = [FIRST + timedelta(days=day, hours=hour) for day in days for hour in (1, 9, 20)]
    keys = pl.DataFrame({"instrument": names}).join(pl.DataFrame({"signal_ts": times}), how="cross")
    texts = {"outcome": "TP", "outcome_class": "WIN", "ambiguous": "no", "tier": "large"}
    columns: dict[str, pl.Series | pl.Expr] = {"data_version": pl.lit("of a test")}
    for name, dtype in TABLE.schema.items():
        if name == "signal_ts":
            continue
        if name == "horizon":
            columns[name] = pl.lit(96, dtype)
            continue
        if dtype.is_temporal():
            columns[name] = pl.col("signal_ts") + timedelta(hours=3)
        elif dtype == pl.String:
            columns[name] = pl.lit(texts.get(name, "text"))
        elif dtype == pl.Boolean:
            columns[name] = pl.Series(rng.random(keys.height) > 0.5)
        else:
            columns[name] = pl.Series(rng.random(keys.height) * (1 if dtype == pl.Float64 else 90)).cast(dtype)
    return keys.with_columns(**columns)


def write(store: Store, rows: pl.DataFrame) -> None:
    cells = rows.group_by("instrument", pl.col("signal_ts").dt.date().alias("day")).agg(
        setups=pl.len(), labels=pl.len(), waiting=pl.lit(0), waits_until=pl.lit(None, pl.Datetime("ms", "UTC")),
        inputs=pl.lit("of a test"), minute_days=pl.lit([], pl.List(pl.Date)), minute_versions=pl.lit(""),
    )  # fmt: skip
    assert store.labels.write(TABLE, HASH, cells, rows).changed > 0


def test_closed_months_come_from_files_and_changed_days_from_the_tables(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "TABLE_DAYS", 0)
    names = ("BTC-USDT", "DOGE-USDT", "ETH-USDT")
    store.labels.declare(HASH, TABLE.strategy, {})
    write(store, labels(names, range(5), 1))
    MirrorMaker(store, ArchiveStorage(str(tmp_path / "mirror")), tmp_path / "scratch").run(FIRST + timedelta(days=80))

    def same(as_of: datetime | None = None) -> pl.DataFrame:
        for chosen in (names[:1], names[1:], None):
            found = label_reads(store).read(TABLE, HASH, FIRST, END, instruments=chosen, as_of=as_of)
            plain = store.labels.read(TABLE, HASH, FIRST, END, instruments=chosen, as_of=as_of)
            assert_frame_equal(found, plain)
        return found

    first, before = same(), database_clock(store)
    assert first.height == 45
    write(store, labels(names[:1], [1], 2))
    assert not same().equals(first)
    assert same(as_of=before).equals(first)

    store.connections.run(lambda connection: connection.execute(f"TRUNCATE {TABLE.name}") and None)
    rest = label_reads(store).read(TABLE, HASH, FIRST, END)
    assert rest.height == 42, "all days but the changed one come from files"
