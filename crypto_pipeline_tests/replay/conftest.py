"""One exchange for the room's tests, whose clock stands still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from crypto_pipeline.replay import ReplayExchange, running_exchange

#: Half past a minute, so that every timeframe has a forming bar.
NOW = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def frozen() -> Iterator[ReplayExchange]:
    """A generated exchange whose clock stands still at NOW, unthrottled."""
    with running_exchange(now=NOW, speed=0, weight_limit=0) as exchange:
        yield exchange
