"""A server of Hummingbot, in the form of its published interface: orders without ids of ours, and without stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.orders_outbox import Handover
from crypto_pipeline.trading.brokers.opt_in import PHRASE
from crypto_pipeline.trading.brokers.port import BrokerError
from crypto_pipeline.trading.stored.order_desk import OrderDesk
from crypto_pipeline_tests.builders.hummingbot_stub import CONNECTOR, PASSWORD, USER, HummingbotStub, running_stub

pytest.importorskip("hummingbot_api_client", reason="the extra `hummingbot` is not installed")
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture
def stub() -> Iterator[HummingbotStub]:
    with running_stub() as running:
        yield running


@contextmanager
def desk(store: Store, stub: HummingbotStub, connector: str = CONNECTOR) -> Iterator[OrderDesk]:
    from crypto_pipeline.trading.brokers.hummingbot import HummingbotBroker

    broker = HummingbotBroker(stub.url, connector, USER, PASSWORD, timeout=0.3)
    try:
        yield OrderDesk(store.trading.outbox, broker, lambda: NOW, pause=0.01)
    finally:
        broker.close()


def put(store: Store, number: int = 0) -> None:
    entries = [{"kind": "market", "quantity": "0.01", "price": None}]
    ends = NOW + timedelta(hours=1), NOW + timedelta(days=1)
    signal = NOW - timedelta(minutes=15 * (number + 1))
    store.trading.outbox.put(
        Handover("hummingbot", "BTC-USDT", "swing", signal, *ends, entries, Decimal(88_000), Decimal(92_000))
    )


def states(store: Store) -> list[tuple[str, str]]:
    numbers = [one.handover_id for one in store.trading.outbox.handovers("hummingbot", closed=True)]
    return [(order.role, order.state) for order in store.trading.outbox.orders(numbers)]


@pytest.mark.parametrize(("price", "reason"), [(92_000, "target"), (87_000, "stop")])
def test_the_desk_sells_at_the_stop_and_at_the_target(
    orders_store: Store, stub: HummingbotStub, price: int, reason: str
) -> None:
    put(orders_store)
    with desk(orders_store, stub) as working:
        assert working.recover() == []
        working.step()
        assert stub.account.wallet.of("BTC").free > 0
        working.step()
        assert states(orders_store) == [("entry", "filled")], "between stop and target nothing is sold"
        stub.move(price)
        working.step()
        (one,) = orders_store.trading.outbox.handovers("hummingbot", closed=True)
        assert (one.state, one.reason) == ("closed", reason)
        assert stub.account.wallet.of("BTC").free < Decimal("0.00001")
        assert working.reconcile() == []


@pytest.mark.parametrize("trouble", ["loses", "fails"])
def test_a_lost_answer_is_looked_for_by_what_was_ordered(
    orders_store: Store, stub: HummingbotStub, trouble: str
) -> None:
    with desk(orders_store, stub) as working:
        working.recover()
        put(orders_store)
        setattr(stub, trouble, 1)
        for _ in range(200):
            working.step()
            if states(orders_store) == [("entry", "filled")]:
                break
        assert states(orders_store) == [("entry", "filled")]
        assert len(stub.account.orders) == 1


def test_orders_that_nobody_can_tell_apart_stay_unknown_and_block_entries(
    orders_store: Store, stub: HummingbotStub
) -> None:
    with desk(orders_store, stub) as working:
        working.recover()
        put(orders_store, 0)
        put(orders_store, 1)
        stub.loses = 2
        working.step()
        working.step()
        assert states(orders_store) == [("entry", "unknown")] * 2
        assert len(working.reconcile()) == 2
        assert not working.entries_allowed
        assert len(stub.account.orders) == 2


def test_a_connector_of_real_money_needs_the_phrase_even_on_this_machine(
    orders_store: Store, stub: HummingbotStub
) -> None:
    with pytest.raises(BrokerError, match=f"--live {PHRASE}"), desk(orders_store, stub, "binance"):
        pass


def test_wrong_keys_are_said(orders_store: Store, stub: HummingbotStub) -> None:
    from crypto_pipeline.trading.brokers.hummingbot import HummingbotBroker

    broker = HummingbotBroker(stub.url, CONNECTOR, USER, "other")
    with pytest.raises(BrokerError, match="Incorrect username"):
        broker.balances()
    broker.close()
