"""The desk against the replay exchange: nothing lost, doubled or unprotected, whatever the venue does to it.

Guards I12 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.figures.order_facts import read_orders
from crypto_pipeline.trading.brokers.port import BrokerError
from crypto_pipeline.trading.stored.order_desk import OrderDesk
from crypto_pipeline_tests.builders.order_desk import BROKER, account, desk, differences, last, position


def states(store: Store) -> dict[str, list[str]]:
    """State of each order by role, in order."""
    found: dict[str, list[str]] = {}
    numbers = [one.handover_id for one in store.trading.outbox.handovers(BROKER, closed=True)]
    for order in store.trading.outbox.orders(numbers):
        found.setdefault(order.role, []).append(order.state)
    return found


def closed(store: Store) -> list[tuple[str, str | None]]:
    return [(one.state, one.reason) for one in store.trading.outbox.handovers(BROKER, closed=True)]


def settle(working: OrderDesk, most: int = 500) -> None:
    """Step until nothing changes any more; an unanswered order becomes certain meanwhile."""
    quiet = 0
    for _ in range(most):
        report = working.step()
        quiet = quiet + 1 if not report.changes + report.waiting else 0
        if quiet > 1 and not working.outbox.counts(BROKER).keys() & {"unknown", "queued"}:
            return


def test_an_entry_is_protected_within_its_step_and_its_stop_ends_it(orders_store: Store, venue: ReplayExchange) -> None:
    orders_store.trading.outbox.put(position(venue))
    with desk(orders_store, venue) as working:
        assert working.recover() == []
        settle(working)
        holder = account(venue)
        assert [order.request.type for order in holder.open_orders()] == ["LIMIT_MAKER", "STOP_LOSS"]
        held = holder.wallet.of("BTC")
        assert held.free < Decimal("0.00001"), "all but what is below a step is covered"
        venue.clock.set(now=venue.clock.now() + timedelta(days=3))
        settle(working)
        assert closed(orders_store) == [("closed", "stop_or_target")]
        assert not holder.open_orders()
    assert differences(orders_store, venue) == []


def test_a_grid_is_protected_part_by_part_and_its_target_follows_the_average(
    orders_store: Store, venue: ReplayExchange
) -> None:
    orders_store.trading.outbox.put(position(venue, grid=4, stop="0.8", factor="1.5", exit_after=12 * 86_400))
    with desk(orders_store, venue) as working:
        working.recover()
        settle(working)
        seen = set()
        for _ in range(12):
            venue.clock.set(now=venue.clock.now() + timedelta(hours=18))
            settle(working)
            holder = account(venue)
            resting = [order for order in holder.open_orders() if order.request.type == "STOP_LOSS"]
            covered = sum(order.request.quantity for order in resting)
            bought = sum(fill.quantity - fill.commission for fill in holder.executions if fill.side == "BUY")
            assert bought - covered < Decimal("0.0002"), "at most one step of each part is not covered"
            targets = {order.request.price for order in holder.open_orders() if order.request.type == "LIMIT_MAKER"}
            average = sum(fill.quote for fill in holder.executions) / sum(one.quantity for one in holder.executions)
            assert {round(target) for target in targets} == {round(average * Decimal("1.5"))}
            seen.add(len(resting))
        assert len(seen) > 1, "later orders of the grid were filled meanwhile"
        venue.clock.set(now=venue.clock.now() + timedelta(days=10))
        settle(working)
        assert closed(orders_store) == [("closed", "time")]
        assert not account(venue).open_orders()
    assert differences(orders_store, venue) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "order_timeout", "manner": "close", "booked": True},
        {"kind": "order_timeout", "manner": "close", "booked": False},
        {"kind": "order_timeout", "manner": "close", "late": 0.05},
        {"kind": "order_timeout", "manner": "unknown"},
        {"kind": "order_timeout", "manner": "hang"},
        {"kind": "truncated", "endpoint": ["order", "oco"]},
        {"kind": "malformed", "endpoint": ["order", "oco"]},
        {"kind": "server_error", "endpoint": ["order", "oco"]},
        {"kind": "order_reject", "code": -1015, "message": "Too many new orders."},
        {"kind": "order_clock_skew", "milliseconds": 20_000},
        {"kind": "order_partial", "share": 0.4, "seconds": 0},
        {"kind": "order_partial", "share": 0, "seconds": 0},
        {"kind": "late_fills", "seconds": 5},
        {"kind": "duplicate_fills"},
        {"kind": "rate_limit", "endpoint": ["order", "oco"]},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_each_fault_leaves_one_order_its_fills_and_a_stop(
    orders_store: Store, venue: ReplayExchange, fault: dict[str, Any]
) -> None:
    with desk(orders_store, venue, timeout=0.15, window_ms=120) as working:
        working.recover()
        orders_store.trading.outbox.put(position(venue))
        venue.control(fault | {"count": 2})
        settle(working)
        holder = account(venue)
        bought = [order for order in holder.orders.values() if order.request.side == "BUY"]
        assert [order.status for order in bought] == ["FILLED"]
        stops = [order for order in holder.open_orders() if order.request.type == "STOP_LOSS"]
        held = bought[0].filled - sum(fill.commission for fill in holder.executions)
        assert held - sum(order.request.quantity for order in stops) < Decimal("0.0001")
        venue.clear_faults()
        orders_store.trading.outbox.close(BROKER, "asked")
        settle(working)
        assert closed(orders_store) == [("closed", "asked")]
        assert working.reconcile() == []
    assert differences(orders_store, venue) == []


def test_a_process_that_dies_after_sending_leaves_an_order_that_the_next_one_asks_for(
    orders_store: Store, venue: ReplayExchange
) -> None:
    orders_store.trading.outbox.put(position(venue))

    class Killed(BaseException):
        pass

    with desk(orders_store, venue) as working:
        working.recover()
        send = working.broker.submit

        def dies(order: Any) -> Any:
            send(order)
            raise Killed

        working.broker.submit = dies  # type: ignore[method-assign]
        with pytest.raises(Killed):
            working.step()
    assert states(orders_store) == {"entry": ["unknown"]}
    (fact,) = orders_store.connections.run(read_orders)
    assert (fact.broker, fact.positions, fact.bare, fact.differences) == (BROKER, 1, (), ())
    assert fact.unknown > 0
    with desk(orders_store, venue) as following:
        assert following.recover() == []
        settle(following)
        assert states(orders_store) == {"entry": ["filled"], "protection": ["open"]}
    assert differences(orders_store, venue) == []


def test_no_entry_is_sent_before_a_comparison_passed(orders_store: Store, venue: ReplayExchange) -> None:
    with desk(orders_store, venue) as working:
        working.recover()
        orders_store.trading.outbox.put(position(venue, 1))
        settle(working)
        # somebody else sells what the position holds
        holder = account(venue)
        holder.cancel("BTCUSDT", holder.open_orders()[0].order_id, None, 0)
        holder.wallet.of("BTC").free -= Decimal("0.002")
        orders_store.trading.outbox.put(position(venue, 2, instrument="ETH-USDT"))
        found = working.reconcile()
        assert len(found) == 1
        assert "BTC: the venue holds" in found[0]
        working.step()
        assert not [order for order in holder.orders.values() if order.request.symbol == "ETHUSDT"]
        venue.clock.set(now=venue.clock.now() + timedelta(hours=2))
        working.step()
        working.step()
        assert ("closed", "not_entered") in closed(orders_store), "an entry that is too late is not sent at all"


def test_a_stop_that_outlived_its_position_is_cancelled(orders_store: Store, venue: ReplayExchange) -> None:
    with desk(orders_store, venue) as working:
        working.recover()
        orders_store.trading.outbox.put(position(venue))
        settle(working)
        holder = account(venue)
        orders_store.connections.run(
            lambda connection: connection.execute("UPDATE trading.order_outbox SET state = 'cancelled'") and None
        )
        assert working.reconcile() == []
        assert not holder.open_orders()


def test_a_position_that_is_closed_before_its_entry_was_sent_is_never_entered(
    orders_store: Store, venue: ReplayExchange
) -> None:
    with desk(orders_store, venue) as working:
        orders_store.trading.outbox.put(position(venue))
        working.step()
        assert states(orders_store) == {"entry": ["queued"]}, "nothing was compared yet"
        orders_store.trading.outbox.close(BROKER, "asked")
        assert working.recover() == []
        settle(working)
        assert closed(orders_store) == [("closed", "asked")]
        assert states(orders_store) == {"entry": ["cancelled"]}
        assert not account(venue).orders


def test_a_strange_order_with_our_prefix_blocks_entries(orders_store: Store, venue: ReplayExchange) -> None:
    with desk(orders_store, venue) as working:
        low = float(last(venue)) * 0.9
        working.broker.exchange.create_order("BTC/USDT", "limit", "buy", 0.01, low, {"clientOrderId": "cpstrange12"})  # type: ignore[attr-defined]
        assert working.recover() == ["order cpstrange12 of BTC-USDT rests at the venue and is not known here"]
        assert not working.entries_allowed
    assert orders_store.trading.outbox.last_reconciliation(BROKER) is not None


def test_a_signal_is_handed_over_once(orders_store: Store, venue: ReplayExchange) -> None:
    assert orders_store.trading.outbox.put(position(venue)) is not None
    assert orders_store.trading.outbox.put(position(venue)) is None


def test_an_address_that_is_not_the_exchanges_is_never_asked(orders_store: Store, venue: ReplayExchange) -> None:
    with desk(orders_store, venue) as working, pytest.raises(BrokerError, match=r"api\.binance\.com was not sent"):
        working.broker._ask(working.broker.exchange.sapiGetAccountStatus)  # type: ignore[attr-defined]
