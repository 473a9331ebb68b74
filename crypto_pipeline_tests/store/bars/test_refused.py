"""Bars that are not believed: one row each, whoever refused them, forgotten when they are not stated any more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.venues import RejectedRow
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, series
from crypto_pipeline_tests.store.archive.test_archive import MARCH, NOW, policy


def test_what_is_refused_is_one_row_and_is_forgotten_in_the_end(postgres_url: str, tmp_path: Path) -> None:
    ms = round(MARCH.timestamp() * 1000)
    with Store(postgres_url) as store:
        add_symbols(store)
        for said in ("volume 1e308", "volume \x00 1e307"):
            rows = [RejectedRow(ms, "too large", said), RejectedRow(None, "no time", "null")]
            assert store.bars_apart.refuse("binance", SYMBOLS[0], Timeframe.M1, rows) == 2
        bad = series(count=3, start=MARCH).with_columns(pl.lit(1e308).alias("volume"))
        result = store.bars.write(bad, Timeframe.M1)
        assert (result.rejected, result.inserted) == (3 * len(SYMBOLS), 0)
        assert all("volume 1e+308" in why for _, _, why in result.refused)

        found = store.bars_apart.read(SYMBOLS)
        mine = found.filter(instrument=SYMBOLS[0], venue="binance").sort("open_time", nulls_last=True)
        assert mine.select("open_time", "times").rows() == [(MARCH, 2), (None, 2)]
        assert mine["said"][0] == "volume � 1e307"
        ours = found.filter(venue="")
        assert ours.height == 3 * len(SYMBOLS)
        assert ours["said"].str.contains("volume 1e+308", literal=True).all()

        old = "UPDATE market.bars_apart SET last_seen = clock_timestamp() - %s WHERE venue = ''"
        store.connections.run(lambda connection: connection.execute(old, [timedelta(days=91)]) and None)
        storage = ArchiveStorage(str(tmp_path / "archive"))
        Retention(store.connections, storage, tmp_path / "scratch", policy()).run(NOW)
        assert store.bars_apart.read(SYMBOLS)["venue"].unique().to_list() == ["binance"]
