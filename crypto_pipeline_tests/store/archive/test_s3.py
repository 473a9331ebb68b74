"""The archive on an S3-compatible server: the same files, the same answers.

Guards I9 (docs/invariants.md).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series
from crypto_pipeline_tests.store.archive.test_archive import MARCH, NOW, everything, policy

BUCKET = "candles"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """URL of an empty bucket on a server of our own; the environment says where it is, as people would."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    bucket = f"{BUCKET}-{secrets.token_hex(4)}"  # all servers of a process have the same buckets
    boto3.client("s3").create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/market"
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()


def test_there_and_back(store: Store, s3: str, tmp_path: Path) -> None:
    add_symbols(store)
    store.bars.write(series(count=1440, start=MARCH), Timeframe.M1)
    store.bars.write(series(count=99, start=MARCH, seed=2, revised=timedelta(days=1)), Timeframe.M1)
    before = everything(store, Timeframe.M1)
    retention = Retention(store.connections, ArchiveStorage(s3), tmp_path / "scratch", policy())

    retention.run(NOW)

    (file,) = store.archive.files("bars", Timeframe.M1)
    assert file.url.startswith(f"{s3}/bars/timeframe=1m/month=2025-03/")
    assert_frame_equal(everything(store, Timeframe.M1), before)
    end = datetime(2025, 4, 1, tzinfo=UTC)
    read = store.reader.read(SYMBOLS, Timeframe.M1, MARCH, end).select(before.columns)
    assert_frame_equal(read, before, check_row_order=False)
    restore.restore(store.connections, store.archive.files(None), timedelta(0))
    assert_frame_equal(everything(store, Timeframe.M1), before)
    assert miscounted(store) == []
    with store.connections.transaction() as connection:
        connection.execute("UPDATE market.archive_files SET retired_at = now() - interval '1 day'")
    retention.archiver.remove_retired()
    assert retention.archiver.storage.paths() == []


def test_a_bucket_that_is_not_there_is_said_clearly(store: Store, s3: str, tmp_path: Path) -> None:
    add_symbols(store)
    store.bars.write(series(count=10, start=MARCH), Timeframe.M1)
    elsewhere = ArchiveStorage(s3.replace(BUCKET, "nowhere"))
    with pytest.raises(StoreError, match="s3://nowhere"):
        Retention(store.connections, elsewhere, tmp_path, policy()).run(NOW)
    assert len(everything(store, Timeframe.M1)) == 40
