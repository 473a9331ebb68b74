"""A deployment's database that collects the five series from a replayed FRED."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from crypto_pipeline.healing.macro.sync import MacroReport, sync_macro
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import collect, fred_exchange, without_pace


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


@pytest.fixture
def exchange(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayExchange]:
    without_pace(monkeypatch)
    monkeypatch.setenv("CRYPTO_PIPELINE_REQUEST_ATTEMPTS", "1")
    with fred_exchange() as running:
        collect(store, running, monkeypatch)
        yield running


Sync = Callable[..., Any]


@pytest.fixture
def sync(store: Store, exchange: ReplayExchange) -> Sync:
    """``await sync(now, full=…, series=…)``: one pass, with the clocks of market and exchange at ``now``."""

    async def run(now: datetime | None = None, *, full: bool = False, series: tuple[str, ...] = ()) -> MacroReport:
        if now is not None:
            exchange.clock.set(now)
            store.clock.learn("replay", now, rate=0.0)
        rows = [row for row in store.macro.series() if not series or row.name in series]
        return await sync_macro(store, load_settings(), rows, full=full)

    return run
