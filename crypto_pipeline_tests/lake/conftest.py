"""One database for all tests of the lake, emptied for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
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
        opened.connections.run(_without_features)
        yield opened


def _without_features(connection: psycopg.Connection[Any]) -> None:
    """Remove the features of an earlier test, if there are some: truncating empty tables takes as long."""
    if connection.execute("SELECT FROM research.feature_cells LIMIT 1").fetchone() is not None:
        connection.execute("TRUNCATE research.ml_features, research.feature_cells")
