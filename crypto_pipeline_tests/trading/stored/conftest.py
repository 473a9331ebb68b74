"""One database and one exchange for the desk's tests, both emptied for each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.server.accounts.desk import DEFAULT_BALANCES, DEFAULT_KEY
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.databases import NewDatabase, shared_database

NOW = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def desk_database(new_database: NewDatabase) -> Iterator[str]:
    with shared_database(new_database, "orders_in_tests") as url:
        yield url


@pytest.fixture(scope="module")
def desk_exchange() -> Iterator[ReplayExchange]:
    with running_exchange(now=NOW, speed=0, weight_limit=0, instruments=2) as running:
        yield running


@pytest.fixture
def venue(desk_exchange: ReplayExchange) -> ReplayExchange:
    """The exchange at NOW, with a new account and no faults."""
    desk_exchange.clear_faults()
    desk_exchange.clock.set(now=NOW)
    desk_exchange.accounts.accounts[DEFAULT_KEY] = TradingAccount(DEFAULT_BALANCES)
    return desk_exchange


@pytest.fixture
def orders_store(desk_database: str) -> Iterator[Store]:
    """A store without hand-overs."""
    with Store(desk_database) as store:
        tables = "trading.handovers, trading.order_outbox, trading.venue_fills, trading.reconciliations"
        store.connections.run(lambda connection: connection.execute(f"TRUNCATE {tables}") and None)
        yield store
