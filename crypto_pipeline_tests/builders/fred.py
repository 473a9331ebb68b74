"""The replay exchange as FRED, without a market of its own that would take time to make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest

from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline.venues.fred import rest
from crypto_pipeline.venues.protocol import BudgetLimit

#: A Wednesday; the newest releases of all five series are out.
NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)
IDS = ("GDP", "CPIAUCSL", "UNRATE", "FEDFUNDS", "UMCSENT")
NAMES = ("CONSUMER_CONFIDENCE", "CPI", "FED_RATE", "GDP", "UNEMPLOYMENT")


def without_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients ask as fast as they can: the exchange refuses nothing while it counts no weights."""
    monkeypatch.setattr(rest, "_LIMIT", BudgetLimit(100_000, 1.0, 1.0))
    monkeypatch.setattr(rest, "_APART", 0.0)


@contextmanager
def fred_exchange(now: datetime = NOW, **options: Any) -> Iterator[ReplayExchange]:
    """A running exchange whose clock stands still at ``now``."""
    with running_exchange(instruments="BTC-USDT", weight_limit=0, now=now, speed=0, **options) as exchange:
        yield exchange


def collect(store: Store, exchange: ReplayExchange, monkeypatch: pytest.MonkeyPatch, series: str = "default") -> None:
    """Settings of a deployment that collects ``series`` from ``exchange``, whose clock is the market's."""
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SERIES", series)
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SOURCE", "replay")
    monkeypatch.setenv("CRYPTO_PIPELINE_REPLAY_PORT", str(exchange.port))
    store.clock.learn("replay", exchange.clock.now(), rate=0.0)
    store.macro.choose(choose_series(series))


def truth(exchange: ReplayExchange, series_id: str, at: datetime) -> set[tuple[date, date, float | None]]:
    """Period, first day and value of every vintage that was public at ``at``."""
    series = exchange.fred.series(series_id)
    assert series is not None
    return {
        (period, first, None if value == "." else float(value))
        for period, vintages in series.vintages(at).items()
        for first, _, value in vintages
    }
