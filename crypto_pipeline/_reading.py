"""What ``crypto_pipeline.bars`` needs: times in several forms, and a store that stays open between calls."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from crypto_pipeline.market.timeframes import parse_time, require_utc
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, resolve_url


def moment(value: datetime | date | str, name: str) -> datetime:
    """``value`` as a UTC datetime. Raises ValueError that names the argument."""
    try:
        if isinstance(value, datetime):
            return require_utc(value)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, str):
            return parse_time(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    raise ValueError(f"{name}: give an aware datetime or ISO 8601 text, not {value!r}")


def open_store(data_dir: str | Path | None) -> Store:
    """The store of a data directory; connections are kept, because a fresh one costs more than a read."""
    settings = load_settings(data_dir=data_dir)
    return _kept(resolve_url(settings), os.getpid())


@lru_cache(maxsize=4)
def _kept(url: str, _process: int) -> Store:
    # Keyed by process as well: connections do not survive a fork.
    return Store(url)
