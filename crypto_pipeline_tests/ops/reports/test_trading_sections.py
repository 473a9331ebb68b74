"""The sections of trading from a real account, and before there is one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crypto_pipeline.ops.reports.sections import trading
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.replay import TradingReplay, replay_trading
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, book, stored_trading_market

TO = FROM + timedelta(days=3)
NOW = datetime(2026, 3, 1, 17, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=FREQUENT)


@pytest.fixture(scope="module")
def store(new_database: NewDatabase) -> Iterator[Store]:
    with new_database("reported_trading") as url, Store(url) as made:
        yield made


def source(store: Store, settings: Settings, *, hours: int = 24) -> ReportSource:
    """A report whose market's clock stands at the end of what was traded."""
    store.clock.learn("replay", TO)
    found = ReportSource(settings, store, store.url, "afternoon", NOW - timedelta(hours=hours), NOW, NOW)
    found.__dict__["market_now"] = TO  # it moves on by itself
    return found


def test_before_there_is_an_account(store: Store, settings: Settings) -> None:
    for make in (trading.signals, trading.positions, trading.profits, trading.rejections):
        assert make(source(store, settings)).headline == "Nothing was traded yet."


@pytest.fixture(scope="module")
def replay(store: Store, settings: Settings) -> TradingReplay:
    stored_trading_market(store, 8, absent=0)
    found = replay_trading(store, settings, FROM, TO)
    book(store, found)
    return found


def test_they_say_what_the_account_says(store: Store, settings: Settings, replay: TradingReplay) -> None:
    asked = source(store, settings, hours=24 * 30)
    made = replay.simulation
    signals = trading.signals(asked)
    assert signals.headline.startswith(f"{made.decisions.height} signals, {made.decisions['taken'].sum()} of them")
    assert sum(row[1] for row in signals.tables[0].rows) == made.decisions.height
    positions = trading.positions(asked)
    assert positions.headline.startswith(f"{made.positions.height} open, worth ")
    assert {row[0] for row in positions.tables[-1].rows} >= {"max_open", "max_exposure", "daily_loss"}
    profits = trading.profits(asked)
    total = profits.tables[0].rows[-1]
    assert total[1] == round(made.equity["equity"][-1] - Decimal(10_000), 2)
    assert total[2] == made.trades.height
    assert profits.charts["Equity"].startswith(b"\x89PNG")
    rejections = trading.rejections(asked)
    assert sum(row[1] for row in rejections.tables[0].rows) == replay.book.rejections["signals"].sum()


def test_only_the_span_is_told(store: Store, settings: Settings, replay: TradingReplay) -> None:
    whole, hours = source(store, settings, hours=24 * 30), source(store, settings, hours=6)
    assert trading.signals(hours).headline != trading.signals(whole).headline
    assert hours.market_span == (TO - timedelta(hours=6), TO)
