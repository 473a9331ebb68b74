"""The mirror on an S3-compatible server: made, read, condemned and dropped as in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.mirror import proof
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.lake.reads import bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline_tests.builders.bars import SYMBOLS, series
from crypto_pipeline_tests.store.archive.test_s3 import s3

__all__ = ["s3"]

FIRST, NOW = datetime(2025, 3, 30, tzinfo=UTC), datetime(2025, 4, 2, 1, tzinfo=UTC)


def test_it_is_made_read_condemned_and_dropped_there(
    store: Store, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "TABLE_BARS", 0)
    store.bars.write(series(SYMBOLS[:2], 2 * 1440, FIRST), Timeframe.M1)
    asked = (SYMBOLS[:2], Timeframe.M1, FIRST, FIRST + timedelta(days=2))
    table = store.reader.read(*asked)
    storage = ArchiveStorage(f"{s3}/mirror")
    maker = MirrorMaker(store, storage, tmp_path / "scratch")
    assert maker.run(NOW).as_dict()["files"] == 2
    assert_frame_equal(bars.long_reads(store).read(*asked), table)

    store.connections.run(lambda connection: connection.execute("TRUNCATE market.ohlc_data") and None)
    assert_frame_equal(bars.long_reads(store).read(*asked), table)  # of the object store alone
    store.connections.run(lambda connection: connection.execute("DELETE FROM market.coverage") and None)
    store.bars.write(series(SYMBOLS[:2], 2 * 1440, FIRST), Timeframe.M1)
    maker.run(NOW, whole=True)

    bad = store.connections.run(catalogue.find)[0]
    with storage.fetched(bad.path) as whole:
        damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    storage.replace(bad.path, tmp_path / "damaged")
    assert [bad.path in fault for fault in proof.prove_in_turn(store, 0, 10**9).faults] == [True]
    assert_frame_equal(bars.long_reads(store).read(*asked), store.reader.read(*asked))
    assert maker.run(NOW).as_dict()["files"] == 1
    assert proof.prove_in_turn(store, 0, 10**9).files == 2
    maker.drop()
    assert storage.paths() == []
