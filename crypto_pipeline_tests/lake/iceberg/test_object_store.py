"""Iceberg tables in an object store: metadata and files are there, and are read from there."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyiceberg", reason="needs the extra iceberg")

from crypto_pipeline.lake.iceberg.catalogue import open_catalogue
from crypto_pipeline.lake.iceberg.tables import IcebergTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import series
from crypto_pipeline_tests.store.archive.test_archive import MARCH, NOW, policy
from crypto_pipeline_tests.store.archive.test_s3 import s3

__all__ = ["s3"]


def test_they_are_made_read_and_dropped_there(store: Store, s3: str, tmp_path: Path) -> None:
    store.bars.write(series(count=50, start=MARCH), Timeframe.M1)
    archive = ArchiveStorage(f"{s3}/archive")
    Retention(store.connections, archive, tmp_path / "scratch", policy()).run(NOW)
    tables = IcebergTables(store.connections, f"{s3}/iceberg")

    (done,) = tables.follow()

    assert (done.files, done.rows) == (1, 200)
    assert done.metadata_location.startswith(f"{s3}/iceberg/market/bars_1m/metadata/")
    with open_catalogue(store.connections.url) as catalogue:
        assert catalogue.load_table("market.bars_1m").scan().to_arrow().num_rows == 200
    assert any(path.endswith("version-hint.text") for path in ArchiveStorage(f"{s3}/iceberg").paths())
    tables.drop()
    assert ArchiveStorage(f"{s3}/iceberg").paths() == []
    assert len(archive.paths()) == 1, "files of the archive stay"
