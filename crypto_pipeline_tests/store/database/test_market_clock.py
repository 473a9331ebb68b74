"""The market's clock: the venue decides, the database counts on, and nobody asks two clocks for one thing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.market_clock import stated_now
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.builders.bars import series

RECORDED = datetime(2021, 4, 25, 8, 0, tzinfo=UTC)
SOON = timedelta(seconds=30)


def test_before_a_venue_told_it_is_the_databases_time(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        (now,) = store.connections.row("SELECT clock_timestamp()")
        assert abs(store.clock.now() - now) < SOON


def test_what_the_venue_said_counts_on_at_its_own_rate(postgres_url: str) -> None:
    with Store(postgres_url) as store, Store(postgres_url) as other:
        store.clock.learn("replay", RECORDED, 1000.0)
        first = other.clock.now()
        assert first >= RECORDED
        second = other.clock.now()
        assert second > first
        store.clock.learn("replay", RECORDED)
        assert RECORDED <= other.clock.now() < RECORDED + SOON
        assert RECORDED <= other.clock.lately() < RECORDED + SOON


def test_an_instrument_is_collected_since_a_moment_of_the_market(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        store.clock.learn("replay", RECORDED)
        store.instruments.add([Instrument.crypto("ETH-USDT")])
        store.clock.learn("replay", RECORDED + timedelta(hours=1))
        for row in store.instruments.list():
            assert RECORDED - SOON < row.added_at < RECORDED + SOON, "whether added before or after a venue told"


def test_a_venue_that_nearly_agrees_dates_no_instrument_again(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        before = [row.added_at for row in store.instruments.list()]
        (now,) = store.connections.row("SELECT clock_timestamp()")
        store.clock.learn("replay", now.astimezone(UTC) + timedelta(seconds=2))
        assert [row.added_at for row in store.instruments.list()] == before


def test_a_process_that_cannot_wait_is_told_what_the_venue_said(postgres_url: str) -> None:
    assert stated_now(postgres_url) is None
    with Store(postgres_url) as store:
        store.clock.learn("replay", RECORDED)
        stated = stated_now(postgres_url)
        assert stated is not None
        assert RECORDED <= stated < RECORDED + SOON
        assert RECORDED <= store.clock.reckoned() < RECORDED + SOON


def test_views_and_storage_end_at_the_markets_now(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.clock.learn("replay", RECORDED)
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        minutes = series(("BTC-USDT",), 8 * 1440, RECORDED - timedelta(days=8))
        store.bars.write(minutes, Timeframe.M1)
        for view in VIEWS:
            store.views.refresh(view)
        shown = {name: rows for name, rows, *_ in store.views.state().iter_rows()}
        assert shown["ohlc_today"] in range(1438, 1441)
        assert shown["ohlc_recent"] in range(7 * 1440 - 2, 7 * 1440 + 1)
        summary = store.connections.frame("SELECT * FROM market.instrument_summary").row(0, named=True)
        assert summary["last_price"] == minutes["close"][-1]
        assert summary["change_24h"] is not None
        assert {view: store.views.differences(view).height for view in VIEWS} == dict.fromkeys(VIEWS, 0)
        assert store.storage.inflow().filter(timeframe="1m")["rows_per_day"].to_list() == [1440.0]
