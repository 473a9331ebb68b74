"""One database for all tests about reading, emptied for each, and a reader with only its URL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline import Reader
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import empty_tables
from crypto_pipeline_tests.builders.databases import NewDatabase, emptied_store, shared_database


@pytest.fixture(scope="module")
def read_database(new_database: NewDatabase) -> Iterator[str]:
    with shared_database(new_database, "read_in_tests") as url:
        yield url


def clear(store: Store) -> None:
    empty_tables(store)
    store.connections.run(
        lambda connection: connection.execute("TRUNCATE market.archive_files, market.live_prices") and None
    )


@pytest.fixture
def store(read_database: str) -> Iterator[Store]:
    with emptied_store(read_database, clear) as opened:
        yield opened


@pytest.fixture
def reader(read_database: str, store: Store) -> Iterator[Reader]:
    with Reader(read_database) as opened:
        yield opened
