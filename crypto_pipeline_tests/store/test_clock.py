"""The market's clock: the venue decides, the database counts on, and nobody asks two clocks for one thing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from crypto_pipeline.market import Instrument
from crypto_pipeline.store import Store

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
