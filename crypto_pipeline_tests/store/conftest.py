"""One database for all tests about bars, emptied for each: making one costs more than most of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline.store import Store
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline_tests.builders.databases import NewDatabase, emptied_store, shared_database


@pytest.fixture(scope="session")
def bar_database(new_database: NewDatabase) -> Iterator[str]:
    with shared_database(new_database, "bars_in_tests") as url:
        yield url


@pytest.fixture
def store(bar_database: str) -> Iterator[Store]:
    """A store with SYMBOLS and nothing else."""
    with emptied_store(bar_database) as opened:
        yield opened


@pytest.fixture
def connections(postgres_url: str) -> Iterator[Connections]:
    """The connections of one process to a database of the test's own."""
    opened = Connections(postgres_url)
    yield opened
    opened.close()
