"""A served database with a few bars, shared by the tests of the API."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import uvicorn

from crypto_pipeline import Reader
from crypto_pipeline.api.serve import config
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import START, bar, frame
from crypto_pipeline_tests.builders.databases import NewDatabase, shared_database


@pytest.fixture(scope="module")
def served_database(new_database: NewDatabase) -> Iterator[str]:
    with shared_database(new_database, "served_in_tests") as url:
        with Store(url) as store:
            rows = [bar(at=START + minute * timedelta(minutes=1)) for minute in range(50) if minute % 7]
            store.bars.write(frame(rows), Timeframe.M1)
        yield url


class Served:
    """A running server, and its address."""

    def __init__(self, reader: Reader, settings: Settings, port: int | None = None) -> None:
        self.port = free_port("127.0.0.1") if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(config(reader, settings, self.port))
        self._thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> Served:
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)  # uvicorn tells nobody
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="module")
def served(served_database: str) -> Iterator[Served]:
    reader = Reader(served_database, patience=2.0, statement_timeout=5.0)
    with Served(reader, load_settings()) as running:
        yield running
