"""One database for all tests about reading, emptied for each, and a reader with only its URL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline import Reader
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.bars import add_symbols, empty_tables


@pytest.fixture(scope="module")
def read_database(postgres_server: EmbeddedServer, postgres_template: str) -> Iterator[str]:
    with connect(postgres_server.url("postgres")) as connection:
        connection.execute(f"CREATE DATABASE read_in_tests TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    url = postgres_server.url("read_in_tests")
    with Store(url) as store:
        add_symbols(store)
    yield url
    with connect(postgres_server.url("postgres")) as connection:
        connection.execute("DROP DATABASE read_in_tests WITH (FORCE)")


def clear(store: Store) -> None:
    empty_tables(store)
    store.connections.run(
        lambda connection: connection.execute("TRUNCATE market.archive_files, market.live_prices") and None
    )


@pytest.fixture
def store(read_database: str) -> Iterator[Store]:
    with Store(read_database, batch_rows=1000) as opened:
        clear(opened)
        yield opened


@pytest.fixture
def reader(read_database: str, store: Store) -> Iterator[Reader]:
    with Reader(read_database) as opened:
        yield opened
