"""The asset and the check of the mirror, run by Dagster; the tests of this folder share the one folder of chdb."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.operations import clickhouse
from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.tables import MirrorTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.housekeeping.clickhouse import NOT_WANTED
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import series
from crypto_pipeline_tests.lake.clickhouse.test_follow import BEGIN, END

NIGHT = datetime(2025, 4, 1, 4, 20, tzinfo=UTC)


def run() -> tuple[dg.ExecuteInProcessResult, dict[str, object]]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [clickhouse.clickhouse_mirror, clickhouse.equals_table],
            resources={"database": MarketDatabase()},
            instance=instance,
        )
    (made,) = result.asset_materializations_for_node("clickhouse_mirror")
    return result, {name: entry.value for name, entry in made.metadata.items()}


def asked() -> object:
    with dg.DagsterInstance.local_temp() as instance:
        return clickhouse.clickhouse_every_night(dg.build_schedule_context(instance, NIGHT))


@pytest.mark.usefixtures("_kept_open")
def test_a_run_fills_the_mirror_and_compares_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, chdb_folder: Path
) -> None:
    store.bars.write(series(count=60), Timeframe.M1)
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    result, shown = run()
    assert result.success
    assert shown == {"state": "no mirror in ClickHouse is wanted (CRYPTO_PIPELINE_CLICKHOUSE_URL)"}
    assert str(asked()) == str(dg.SkipReason(NOT_WANTED))

    monkeypatch.setenv("CRYPTO_PIPELINE_CLICKHOUSE_URL", f"chdb://{chdb_folder}")
    result, shown = run()
    assert (shown["copies_sent"], shown["bars_removed"]) == (240, 0)
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert check.description == "240 bars of the ClickHouse mirror equal the table's; 0 cells wait for its run"
    assert isinstance(asked(), dg.RunRequest)
    with MirrorEngine(MirrorAddress.parse(f"chdb://{chdb_folder}")) as engine:
        assert MirrorTables(engine).bars(["BTC-USDT"], Timeframe.M1, BEGIN, END).height == 60
