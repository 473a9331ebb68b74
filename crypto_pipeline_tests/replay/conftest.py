"""One frozen exchange for the room's tests, and where recorded data lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crypto_pipeline.replay import ReplayExchange, running_exchange

#: Half past a minute, so that every timeframe has a forming bar.
NOW = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def frozen() -> Iterator[ReplayExchange]:
    """A generated exchange whose clock stands still at NOW, unthrottled."""
    with running_exchange(now=NOW, speed=0, weight_limit=0) as exchange:
        yield exchange


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """Folder of recorded exchange data, or skip."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("CRYPTO_PIPELINE_TEST_DATA", default))
    if not (folder / "bars").is_dir():
        pytest.skip(f"no recorded data in {folder}: set CRYPTO_PIPELINE_TEST_DATA")
    return folder
