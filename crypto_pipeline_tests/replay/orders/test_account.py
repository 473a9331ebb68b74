"""Orders of an account against trades written by hand; and that no unit of any asset is ever made or lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.orders.types import BookedOrder, OrderRefused, OrderRequest, OrderRules

D = Decimal
RULES = OrderRules("XUSDT", "X", "USDT", D("0.01"), D("0.001"))


def account(**balances: int) -> TradingAccount:
    held = {"USDT": D(10_000), "X": D(0)} | {name: D(amount) for name, amount in balances.items()}
    return TradingAccount(held, fee=D("0.001"))


def order(side: str, kind: str, quantity: str, price: str = "0", stop: str = "0", **more: Any) -> OrderRequest:
    return OrderRequest("XUSDT", side, kind, D(quantity), D(price), D(stop), **more)  # type: ignore[arg-type]


def put(holder: TradingAccount, request: OrderRequest, last: str = "100", now: int = 0, **more: Any) -> BookedOrder:
    return holder.submit(request, RULES, D(last), now, **more)


def pair(holder: TradingAccount, quantity: str, above: str, below: str, last: str = "100") -> tuple[BookedOrder, ...]:
    legs = order("SELL", "LIMIT_MAKER", quantity, above), order("SELL", "STOP_LOSS", quantity, stop=below)
    made = holder.submit_pair(*legs, RULES, D(last), 0, "")
    return tuple(holder.orders[one] for one in made.orders)


def test_a_market_order_trades_one_tick_worse_and_pays_the_fee_in_what_it_receives() -> None:
    holder = account()
    bought = put(holder, order("BUY", "MARKET", "2"))
    assert (bought.status, bought.filled_quote) == ("FILLED", D("200.02"))
    assert holder.wallet.of("X").free == D("1.998")
    assert holder.wallet.of("USDT").free == D("9799.98")
    assert holder.wallet.of("USDT").locked == 0


@pytest.mark.parametrize(
    ("price", "quantity", "buyer_rested", "filled"),
    [("99.01", "9", True, "0"), ("99", "0.4", True, "0.4"), ("99", "9", False, "0"), ("98.99", "0.001", False, "1")],
)
def test_a_resting_limit_is_filled_at_its_price_by_what_trades_there(
    price: str, quantity: str, buyer_rested: bool, filled: str
) -> None:
    holder = account()
    resting = put(holder, order("BUY", "LIMIT", "1", "99"))
    holder.trade("XUSDT", (D(price), D(quantity), 1, buyer_rested))
    assert resting.filled == D(filled)
    assert resting.filled_quote == D(filled) * 99


def test_a_stop_fills_behind_a_gap_and_ends_the_other_order_of_its_pair() -> None:
    holder = account(X=5)
    target, stop = pair(holder, "5", "110", "95")
    assert holder.wallet.of("X").locked == 5, "only one of the two can be filled: the quantity is held once"
    holder.trade("XUSDT", (D("80"), D("1"), 7, False))
    assert (target.status, stop.status, stop.filled_quote) == ("EXPIRED", "FILLED", D("399.95"))
    assert holder.wallet.of("X").free == holder.wallet.of("X").locked == 0
    assert [event.kind for event in holder.events] == ["NEW", "NEW", "EXPIRED", "TRADE"]


def test_a_part_of_the_limit_ends_the_stop_and_the_rest_stays_open() -> None:
    holder = account(X=5)
    target, stop = pair(holder, "5", "110", "95")
    holder.trade("XUSDT", (D("110"), D("2"), 7, False))
    assert (target.status, target.filled, stop.status) == ("PARTIALLY_FILLED", 2, "EXPIRED")
    holder.trade("XUSDT", (D("90"), D("2"), 8, False))
    assert target.filled == 2
    assert holder.wallet.of("X").locked == 3


def test_cancelling_one_order_of_a_pair_cancels_both() -> None:
    holder = account(X=5)
    target, stop = pair(holder, "5", "110", "95")
    holder.cancel("XUSDT", stop.order_id, None, 9)
    assert {target.status, stop.status} == {"CANCELED"}
    assert holder.wallet.of("X").free == 5
    assert holder.pairs[1].is_over
    with pytest.raises(OrderRefused, match="Unknown order"):
        holder.cancel("XUSDT", target.order_id, None, 9)


def test_an_id_is_refused_while_its_order_is_open_and_taken_again_after_it() -> None:
    holder = account()
    put(holder, order("BUY", "LIMIT", "1", "99", client_id="mine"))
    with pytest.raises(OrderRefused, match="Duplicate"):
        put(holder, order("BUY", "LIMIT", "1", "98", client_id="mine"))
    holder.trade("XUSDT", (D("98"), D("1"), 1, True))
    assert put(holder, order("BUY", "MARKET", "1", client_id="mine")).status == "FILLED"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order("BUY", "MARKET", "0.0005"), -1013),
        (order("BUY", "MARKET", "1.0005"), -1013),
        (order("BUY", "LIMIT", "1", "99.001"), -1013),
        (order("BUY", "LIMIT", "0.01", "99"), -1013),
        (order("BUY", "LIMIT_MAKER", "1", "100"), -2010),
        (order("SELL", "STOP_LOSS", "1", stop="100"), -2010),
        (order("SELL", "TAKE_PROFIT", "1", stop="99"), -2010),
        (order("BUY", "MARKET", "200"), -2010),
        (order("SELL", "LIMIT", "9", "101"), -2010),
        (order("BUY", "MARKET", "1", client_id="not allowed"), -1100),
    ],
)
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(request_: OrderRequest, code: int) -> None:
    holder = account(X=2)
    with pytest.raises(OrderRefused) as refused:
        put(holder, request_)
    assert refused.value.code == code
    assert not holder.orders
    assert holder.wallet.of("USDT").free == 10_000


def test_the_rest_of_a_split_execution_comes_when_it_is_due() -> None:
    holder = account()
    bought = put(holder, order("BUY", "MARKET", "2"), share=D("0.4"), rest_ms=1000)
    assert (bought.status, bought.filled) == ("PARTIALLY_FILLED", D("0.8"))
    holder.finish_due("XUSDT", D("101"), 999)
    assert bought.filled == D("0.8")
    holder.finish_due("XUSDT", D("101"), 1000)
    assert (bought.status, bought.filled_quote) == ("FILLED", D("0.8") * D("100.01") + D("1.2") * D("101.01"))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["BUY MARKET", "SELL MARKET", "BUY LIMIT", "SELL LIMIT", "SELL STOP", "PAIR", "CANCEL"]),
        st.integers(1, 4000),
        st.integers(9000, 11_000),
        st.booleans(),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_assets_are_conserved_and_nothing_is_below_zero(actions: list[tuple[str, int, int, bool]]) -> None:
    holder = account(X=20)
    last = D(100)
    for now, (action, size, cents, rested) in enumerate(actions):
        quantity, price = D(size) / 1000, D(cents) / 100
        side, _, kind = action.partition(" ")
        try:
            if action == "PAIR":
                high, low = last + abs(price - 100) + 1, last - abs(price - 100) - 1
                pair(holder, str(quantity), str(high), str(low), str(last))
            elif action == "CANCEL":
                holder.cancel("XUSDT", size % 20, None, now)
            elif kind == "STOP":
                put(holder, order("SELL", "STOP_LOSS", str(quantity), stop=str(price)), str(last), now)
            else:
                limit = str(price) if kind == "LIMIT" else "0"
                half = {"share": D("0.5"), "rest_ms": 1} if rested else {}
                put(holder, order(side, kind, str(quantity), limit), str(last), now, **half)
        except OrderRefused:
            pass
        last = price
        holder.trade("XUSDT", (last, quantity, now, rested))
        holder.finish_due("XUSDT", last, now)
        _check(holder)


def _check(holder: TradingAccount) -> None:
    expected = {"USDT": D(10_000), "X": D(20)}
    for fill in holder.executions:
        sign = 1 if fill.side == "BUY" else -1
        expected["X"] += sign * fill.quantity
        expected["USDT"] -= sign * fill.quote
        expected[fill.commission_asset] -= fill.commission
    for asset, amount in expected.items():
        balance = holder.wallet.of(asset)
        assert balance.free + balance.locked == amount
        assert balance.free >= 0
        assert balance.locked == sum(
            one.locked for one in holder.orders.values() if one.request.side == ("SELL" if asset == "X" else "BUY")
        )
    for one in holder.orders.values():
        fills = [fill for fill in holder.executions if fill.order_id == one.order_id]
        assert sum(fill.quantity for fill in fills) == one.filled <= one.request.quantity
        assert one.is_open or one.locked == 0
