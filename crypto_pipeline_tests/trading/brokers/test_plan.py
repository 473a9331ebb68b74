"""What is done next for a position, case by case, and that no sequence of fills lets it sell more than it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.store.trading.orders_outbox import Handover, OutboxOrder, StatedFill
from crypto_pipeline.trading.brokers.client_ids import client_order_id
from crypto_pipeline.trading.brokers.plan import NextSteps, next_steps, position_view
from crypto_pipeline.trading.brokers.port import BrokerTraits, MarketRules

D = Decimal
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = MarketRules("X", "USDT", D("0.01"), D("0.001"), D("0.001"), D(5))
BINANCE = BrokerTraits(stops=True, pairs=True, real_money=False)
BARE = BrokerTraits(stops=False, pairs=False, real_money=False)


def handover(**changes: Any) -> Handover:
    entries = [{"kind": "market", "quantity": "1", "price": None}, {"kind": "limit", "quantity": "1", "price": "99"}]
    ends = NOW + timedelta(minutes=15), NOW + timedelta(days=1)
    made = Handover("b", "X-USDT", "dca", NOW, *ends, entries, D(90), None, D("1.1"))
    return replace(made, **changes)


def plan(
    orders: Sequence[OutboxOrder], fills: Sequence[StatedFill], *, now: datetime = NOW, price: Decimal | None = None,
    traits: BrokerTraits = BINANCE, **changes: Any,
) -> NextSteps:  # fmt: skip
    return next_steps(handover(**changes), orders, fills, RULES, traits, now, price)


def filled(order: OutboxOrder, quantity: str | Decimal, price: str = "100", number: int = 0) -> StatedFill:
    fee = D(quantity) * D("0.001") if order.side == "buy" else D(0)
    return StatedFill(
        f"{order.client_id}{number}", order.client_id, 0, "X-USDT", order.side, D(price), D(quantity), fee, "X", NOW
    )


def entered() -> tuple[list[OutboxOrder], list[StatedFill]]:
    """The first order is filled, the second one rests."""
    first, second = plan([], []).queue
    return [replace(first, state="filled", filled=D(1)), replace(second, state="open")], [filled(first, "1")]


def test_ids_follow_from_the_signal_and_the_place() -> None:
    names = {client_order_id("b", "dca", name, NOW, "entry", number) for name in ("X", "Y") for number in range(3)}
    assert len(names) == 6
    assert all(len(name) == 26 and name.startswith("cp") for name in names)
    assert client_order_id("b", "dca", "X", NOW, "entry", 0) == client_order_id("b", "dca", "X", NOW, "entry", 0)


def test_entries_come_first_and_too_late_there_are_none() -> None:
    made = plan([], [])
    assert [(one.kind, one.quantity, one.price) for one in made.queue] == [
        ("market", 1, None),
        ("limit", 1, D("99.00")),
    ]
    late = plan([], [], now=NOW + timedelta(minutes=16))
    assert (late.queue, late.state, late.reason) == ([], "closed", "entry_too_late")


def test_what_is_held_is_protected_at_once_and_the_target_moves_with_the_average() -> None:
    orders, fills = entered()
    (protection,) = plan(orders, fills).queue
    assert (protection.quantity, protection.stop_price, protection.price) == (D("0.999"), D("90.00"), D("110.00"))
    orders.append(replace(protection, state="open", stop_rests=True))
    assert plan(orders, fills) == NextSteps()
    fills.append(filled(orders[1], "1", "99"))
    orders[1] = replace(orders[1], state="filled", filled=D(1))
    (more,) = plan(orders, fills).queue
    assert more.price == D("109.45")
    orders.append(replace(more, state="open", stop_rests=True))
    assert plan(orders, fills).cancel == [protection.client_id], "its target is that of the old average"


def test_it_waits_for_fills_that_the_venue_stated_and_did_not_tell_yet() -> None:
    orders, _ = entered()
    assert plan(orders, []) == NextSteps()


@pytest.mark.parametrize(
    ("changes", "price", "reason"),
    [
        ({"now": NOW + timedelta(days=1)}, None, "time"),
        ({"traits": BARE}, D(90), "stop"),
        ({"traits": BARE}, D(110), "target"),
        ({"state": "closing", "reason": "asked"}, None, "asked"),
    ],
)
def test_what_ends_a_position_cancels_its_entries_and_sells_all(
    changes: dict[str, Any], price: Decimal | None, reason: str
) -> None:
    orders, fills = entered()
    made = plan(orders, fills, price=price, **changes)
    assert (made.state, made.reason, made.cancel) == ("closing", reason, [orders[1].client_id])
    assert [(one.role, one.kind, one.quantity) for one in made.queue] == [("exit", "market", D("0.999"))]


def test_a_pair_whose_target_is_filled_in_part_has_no_stop_and_is_ended() -> None:
    orders, fills = entered()
    (protection,) = plan(orders, fills).queue
    orders.append(replace(protection, state="open", filled=D("0.5")))
    fills.append(filled(protection, "0.5", "110"))
    made = plan(orders, fills)
    assert (made.state, made.cancel) == ("closing", [orders[1].client_id, protection.client_id])


def test_a_refused_stop_whose_price_was_passed_sells_and_another_is_sent_again() -> None:
    orders, fills = entered()
    (protection,) = plan(orders, fills).queue
    orders.append(replace(protection, state="rejected"))
    assert [one.number for one in plan(orders, fills, price=D(95)).queue] == [1]
    assert plan(orders, fills, price=D(89)).reason == "stop_refused"
    orders += [replace(protection, client_id=f"cp{number}", state="rejected", number=number) for number in (1, 2)]
    assert plan(orders, fills, price=D(95)).reason == "stop_refused", "it cannot be protected"


def test_a_sale_that_is_refused_is_repeated_with_growing_pauses() -> None:
    orders, fills = entered()
    ended = {"state": "closing", "reason": "time"}
    (sale,) = plan(orders, fills, **ended).queue
    orders.append(replace(sale, state="rejected", since_attempt=0.1))
    waiting = plan(orders, fills, **ended)
    assert (waiting.queue, waiting.state) == ([], "closing")
    orders[-1] = replace(orders[-1], since_attempt=1.0)
    assert [one.number for one in plan(orders, fills, **ended).queue] == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(85, 115)), max_size=40))
def test_no_sequence_of_events_sells_more_than_is_held(events: list[tuple[int, int, int]]) -> None:
    """The venue fills, cancels and refuses as it likes; the plan is asked after each event."""
    orders: dict[str, OutboxOrder] = {}
    fills: list[StatedFill] = []
    state: dict[str, Any] = {"state": "open", "reason": None}
    now = NOW
    for step, (place, what, price) in enumerate(events):
        made = plan(list(orders.values()), fills, now=now, price=D(price), **state)
        orders |= {one.client_id: replace(one, state="open", stop_rests=one.role == "protection") for one in made.queue}
        orders |= {name: replace(orders[name], cancel_wanted=True) for name in made.cancel}
        state = {"state": made.state, "reason": made.reason}
        live = [one for one in orders.values() if one.is_live]
        view = position_view(list(orders.values()), fills, RULES)
        assert view.covered <= view.held
        if state["state"] == "closed":
            assert not live
            assert not RULES.can_sell(RULES.floor_quantity(view.held), D(90))
            return
        now += timedelta(hours=1)
        if live:
            one = live[place % len(live)]
            left = one.quantity - one.filled
            part = left if what == 0 else (left / 2).quantize(RULES.step)
            if one.cancel_wanted or what == 3:
                orders[one.client_id] = replace(one, state="cancelled")
            elif part > 0 and what < 2:
                fills.append(filled(one, part, str(price), step))
                ended = "filled" if part == left else "open"
                orders[one.client_id] = replace(one, filled=one.filled + part, state=ended, stop_rests=False)
