"""From bars and features to the mirror and to Iceberg tables, as Dagster runs it, also when a column is new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

pytest.importorskip("pyiceberg", reason="needs the extra iceberg")

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.operations import iceberg, mirror
from crypto_pipeline.lake.iceberg.catalogue import open_catalogue
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import SYMBOLS, series
from crypto_pipeline_tests.lake.reads.test_feature_reads import DAY, FIRST, NAMES, write

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def materialize() -> dict[str, object]:
    """Run mirror and Iceberg tables; what the latter shows."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [mirror.bar_mirror, iceberg.iceberg_tables, dg.AssetSpec("coverage"), dg.AssetSpec("bar_archive")],
            resources={"database": MarketDatabase()},
            selection=dg.AssetSelection.assets("bar_mirror", "iceberg_tables"),
            instance=instance,
        )
    assert all(one.passed for one in result.get_asset_check_evaluations())
    (made,) = result.asset_materializations_for_node("iceberg_tables")
    return {name: entry.value for name, entry in made.metadata.items()}


def rows(store: Store, name: str) -> pl.DataFrame:
    with open_catalogue(store.connections.url) as catalogue:
        found = pl.from_arrow(catalogue.load_table(name).scan().to_arrow())
    assert isinstance(found, pl.DataFrame)
    return found.sort("instrument", "open_time")


def as_listed(stored: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table in the types that Iceberg has."""
    return stored.with_columns(
        pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC")), pl.col(pl.Int16, pl.Int8).cast(pl.Int32)
    )


def test_bars_and_features_become_tables_and_a_new_column_one_more_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    store.bars.write(series(count=1440, start=FIRST), Timeframe.M1)
    write(store, FIRST, 2, 1, 1)

    with dg.DagsterInstance.local_temp() as instance:
        context = dg.build_schedule_context(instance, NOON, resources={"database": MarketDatabase()})
        assert isinstance(iceberg.iceberg_every_ten_minutes(context), dg.SkipReason), "nothing is mirrored yet"
        shown = materialize()
        assert (shown["dagster/row_count"], shown["files"]) == (4 * 1440 + 3 * 192, 4 + 3)
        again = iceberg.iceberg_every_ten_minutes(context)
        assert isinstance(again, dg.SkipReason)
        assert again.skip_message == "the tables list what mirror and archive have"

    bars = store.reader.read(SYMBOLS, Timeframe.M1, FIRST, FIRST + DAY)
    assert_frame_equal(rows(store, "market.bars_1m").select(bars.drop("vwap").columns), as_listed(bars.drop("vwap")))
    features = store.features.read(NAMES, FIRST, FIRST + 9 * DAY)
    assert_frame_equal(rows(store, "research.features").select(features.columns), as_listed(features))

    store.connections.run(
        lambda connection: connection.execute("ALTER TABLE research.ml_features ADD COLUMN one_more float8") and None
    )
    try:
        with Store(store.url) as newer:
            write(newer, FIRST + 40 * DAY, 1, 2, 2)
            shown = materialize()
            assert (shown["files_added"], shown["files_removed"]) == (3, 0)
            features = newer.features.read(NAMES, FIRST, FIRST + timedelta(days=50))
        listed = rows(store, "research.features")
        assert_frame_equal(listed.select(features.columns), as_listed(features))
        assert listed["one_more"].null_count() < listed.height == 3 * 288
    finally:
        store.connections.run(
            lambda connection: connection.execute("ALTER TABLE research.ml_features DROP COLUMN one_more") and None
        )
