"""The mirror as Dagster and a person run it: asset, checks and commands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from crypto_pipeline.cli.app import app
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.operations import mirror as definitions
from crypto_pipeline.lake.reads import bars, files, mirrored
from crypto_pipeline.lake.reads.plan import FileBatch
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.status import _mirror
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import local_path
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.operations.figures.deployment import MetricsScrape
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, series

MARCH_30 = datetime(2025, 3, 30, tzinfo=UTC)


def materialize() -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:  # not one of an earlier test, which may be gone
        return dg.materialize(
            [definitions.bar_mirror, definitions.mirror_files, dg.AssetSpec("coverage")],
            resources={"database": MarketDatabase()},
            selection=dg.AssetSelection.assets("bar_mirror"),
            instance=instance,
        )


def read_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of reads of files for a long read, whose answer is right."""
    batches = []

    def counted(batch: FileBatch, *given: Any) -> Any:
        batches.append(batch)
        return files.read_batch(batch, *given)

    with monkeypatch.context() as patch:
        patch.setattr(mirrored, "read_batch", counted)
        patch.setattr(bars, "TABLE_BARS", 0)
        asked = (SYMBOLS, Timeframe.M1, MARCH_30, MARCH_30 + timedelta(days=1))
        assert_frame_equal(bars.long_reads(store).read(*asked), store.reader.read(*asked))
    return len(batches)


def test_the_asset_makes_it_the_check_proves_it_and_commands_show_and_drop_it(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with Store(postgres_url) as store:
        add_symbols(store)
        store.bars.write(series(count=1440, start=MARCH_30), Timeframe.M1)

        result = materialize()
        figures = result.asset_materializations_for_node("bar_mirror")[0].metadata
        assert (figures["files"].value, figures["rows"].value, figures["left"].value) == (4, 4 * 1440, 0)
        assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == {
            "mirror_fresh": True,
            "mirror_files": True,
        }

        file = store.connections.run(catalogue.find)[0]
        path = local_path(file.url)
        assert path is not None
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        files.forget_proofs()
        assert read_files(store, monkeypatch) > 0, "the other files are read, and the table"
        result = materialize()
        found = {one.check_name: one for one in result.get_asset_check_evaluations()}
        assert not found["mirror_files"].passed
        assert file.path in str(found["mirror_files"].description)
        (alert,) = store.checks.open_alerts().to_dicts()
        assert file.path in alert["summary"]

        assert (store.storage.mirror()["files"].to_list(), _mirror(store)["until"]) == ([3, 1], "2025-04-01")
        assert [row["files"] for row in MetricsScrape(store.connections, "replay").mirror()] == [3]

    shown = json.loads(CliRunner().invoke(app, ["mirror", "status", "--json"]).stdout)
    assert (shown["due"]["files"], [one["files"] for one in shown["series"]]) == (1, [3])
    assert "1 files with 1,440 rows made" in CliRunner().invoke(app, ["mirror", "make"]).stdout

    monkeypatch.setenv("CRYPTO_PIPELINE_MIRROR", "false")
    with Store(postgres_url) as store:
        assert read_files(store, monkeypatch) == 0, "a process whose setting says so reads the table alone"
        monkeypatch.delenv("CRYPTO_PIPELINE_MIRROR")
        assert read_files(store, monkeypatch) > 0
        monkeypatch.setenv("CRYPTO_PIPELINE_MIRROR", "false")
        assert materialize().success
        monkeypatch.delenv("CRYPTO_PIPELINE_MIRROR")
        assert read_files(store, monkeypatch) == 0, "and everyone once the deployment has noted it"
    monkeypatch.setenv("CRYPTO_PIPELINE_MIRROR", "false")
    assert "5 files deleted" in CliRunner().invoke(app, ["mirror", "drop"]).stdout
    assert not (tmp_path / "mirror").exists()
