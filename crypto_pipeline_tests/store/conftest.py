"""One database for all tests about bars, emptied for each: making one costs more than most of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.bars import add_symbols, empty_tables


@pytest.fixture(scope="session")
def bar_database(postgres_server: EmbeddedServer, postgres_template: str) -> str:
    with connect(postgres_server.url("postgres")) as connection:
        connection.execute(f"CREATE DATABASE bars_in_tests TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    url = postgres_server.url("bars_in_tests")
    with Store(url) as store:
        add_symbols(store)
    return url


@pytest.fixture
def store(bar_database: str) -> Iterator[Store]:
    """A store with SYMBOLS and nothing else. Small batches, so that few bars are many transactions."""
    with Store(bar_database, batch_rows=1000) as opened:
        empty_tables(opened)
        yield opened
