"""A migrated, empty store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline.store import Store


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    """An open store on a fresh database."""
    with Store(postgres_url) as opened:
        yield opened
