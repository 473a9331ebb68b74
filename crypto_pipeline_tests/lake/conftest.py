"""One database for all tests of the lake, emptied for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.databases import NewDatabase, emptied_store, shared_database


@pytest.fixture(scope="session")
def lake_database(new_database: NewDatabase) -> Iterator[str]:
    with shared_database(new_database, "lake_in_tests") as url:
        yield url


@pytest.fixture
def store(lake_database: str) -> Iterator[Store]:
    """A store with SYMBOLS and nothing else."""
    with emptied_store(lake_database) as opened:
        yield opened
