"""What is to be done next for one position, from its orders and fills alone: a pure function, asked again and again.

The rules, in this order:
- What is held and not covered by a live sale is protected at once, also after each part of an entry.
- A take profit that stands on the average entry moves with it: one protection is cancelled and made anew at a time.
- The first execution of a sale ends the entries. A protection that the venue filled in part, so that its stop is gone,
  is cancelled, and what is left is sold at the market.
- At ``exit_at``, or when a person or the desk closes the position, entries and protections are cancelled, then all is
  sold at the market.
- A protection that the venue refuses because its price was passed is a stop that has come: all is sold at the market.
Where nothing rests at the venue (no stops, or no pairs), the desk compares the last price itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from crypto_pipeline.store.trading.orders_outbox import Handover, OutboxOrder, Role, StatedFill
from crypto_pipeline.trading.brokers.client_ids import client_order_id
from crypto_pipeline.trading.brokers.port import BrokerTraits, MarketRules

#: Refusals in a row after which a position that cannot be protected is sold.
MOST_REFUSALS = 3
#: Seconds from a refused sale to the next: the first pause is twice this, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 300.0
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PositionView:
    """What is known of a position. ``held`` is net of fees in the base asset, ``average`` is over the entry fills."""

    held: Decimal
    bought: Decimal
    average: Decimal | None
    covered: Decimal
    is_sold: bool

    @property
    def uncovered(self) -> Decimal:
        """What no live sale covers."""
        return self.held - self.covered


@dataclass(frozen=True, slots=True)
class NextSteps:
    """Orders to queue, client ids of orders to cancel, and the state of the position afterwards."""

    queue: list[OutboxOrder] = field(default_factory=list)
    cancel: list[str] = field(default_factory=list)
    state: Literal["open", "closing", "closed"] = "open"
    reason: str | None = None


def position_view(orders: Sequence[OutboxOrder], fills: Sequence[StatedFill], rules: MarketRules) -> PositionView:
    """Sum up the orders and fills of one position."""
    bought = sum((fill.quantity for fill in fills if fill.side == "buy"), ZERO)
    cost = sum((fill.quantity * fill.price for fill in fills if fill.side == "buy"), ZERO)
    sold = sum((fill.quantity for fill in fills if fill.side == "sell"), ZERO)
    fees = sum((fill.fee for fill in fills if fill.fee_asset == rules.base), ZERO)
    sales = [order for order in orders if order.side == "sell" and order.is_live]
    # a sale covers what it has not been booked as sold
    booked = {order.client_id: ZERO for order in sales}
    for fill in fills:
        if fill.client_id in booked:
            booked[fill.client_id] += fill.quantity
    covered = sum((order.quantity - booked[order.client_id] for order in sales), ZERO)
    return PositionView(bought - sold - fees, bought, cost / bought if bought else None, covered, sold > 0)


def next_steps(
    handover: Handover,
    orders: Sequence[OutboxOrder],
    fills: Sequence[StatedFill],
    rules: MarketRules,
    traits: BrokerTraits,
    now: datetime,
    price: Decimal | None,
) -> NextSteps:
    """What to do now. ``price`` is the last traded price, None where it is not known.

    Every order and fill of the position is given; a fill that the venue stated and that is not given yet makes the plan
    wait for it (an order says how much of it is filled).
    """
    view = position_view(orders, fills, rules)
    if _is_behind(orders, fills):
        return NextSteps(state=handover.state, reason=handover.reason)
    if handover.state == "open" and not orders:
        if now > handover.enter_until:
            return NextSteps(state="closed", reason="entry_too_late")
        entries = _entries(handover, rules)
        return NextSteps(queue=entries) if entries else NextSteps(state="closed", reason="too_small")
    reason = _closes(handover, orders, view, rules, traits, now, price)
    if reason is None:
        return _opened(handover, orders, view, rules, traits, price)
    is_sold_now = reason != "stop_or_target" or now >= handover.exit_at
    return _closing(handover, orders, view, rules, price, reason, is_sold_now=is_sold_now)


def _is_behind(orders: Sequence[OutboxOrder], fills: Sequence[StatedFill]) -> bool:
    """Whether the venue said more of an order than fills were booked of it."""
    booked: dict[str, Decimal] = {}
    for fill in fills:
        booked[fill.client_id] = booked.get(fill.client_id, ZERO) + fill.quantity
    return any(order.filled > booked.get(order.client_id, ZERO) for order in orders)


def _entries(handover: Handover, rules: MarketRules) -> list[OutboxOrder]:
    made = []
    for number, entry in enumerate(handover.entries):
        quantity = rules.floor_quantity(Decimal(str(entry["quantity"])))
        price = None if entry.get("price") is None else rules.round_price(Decimal(str(entry["price"])))
        if quantity > 0:
            made.append(_order(handover, "entry", number, quantity, kind=entry["kind"], price=price))
    return made


def _closes(
    handover: Handover,
    orders: Sequence[OutboxOrder],
    view: PositionView,
    rules: MarketRules,
    traits: BrokerTraits,
    now: datetime,
    price: Decimal | None,
) -> str | None:
    """Why the position is to be closed now; None while it is not."""
    if handover.state == "closing":
        return handover.reason or "closed"
    if view.is_sold:
        by_exit = all(order.role == "exit" for order in orders if order.side == "sell" and order.filled > 0)
        return "exit" if by_exit else "stop_or_target"
    if now >= handover.exit_at:
        return "time"
    refused = [order.state == "rejected" for order in orders if order.role == "protection"]
    if refused and refused[-1] and (len(refused) >= MOST_REFUSALS or _is_passed(handover, view, rules, price)):
        return "stop_refused"
    if price is not None and view.held > 0:
        if not traits.stops and price <= handover.stop_price:
            return "stop"
        target = target_of(handover, view, rules)
        if not traits.pairs and target is not None and price >= target:
            return "target"
    if all(not order.is_live for order in orders if order.role == "entry") and not view.bought:
        return "not_entered"
    return None


def _is_passed(handover: Handover, view: PositionView, rules: MarketRules, price: Decimal | None) -> bool:
    target = target_of(handover, view, rules)
    return price is not None and (price <= handover.stop_price or (target is not None and price >= target))


def target_of(handover: Handover, view: PositionView, rules: MarketRules) -> Decimal | None:
    """Where the take profit stands now."""
    if handover.target_price is not None:
        return rules.round_price(handover.target_price)
    if view.average is None or handover.target_factor is None:
        return None
    return rules.round_price(view.average * handover.target_factor)


def _opened(
    handover: Handover,
    orders: Sequence[OutboxOrder],
    view: PositionView,
    rules: MarketRules,
    traits: BrokerTraits,
    price: Decimal | None,
) -> NextSteps:
    if not traits.stops:
        return NextSteps()
    target = target_of(handover, view, rules) if traits.pairs else None
    quantity = rules.floor_quantity(view.uncovered)
    if rules.can_sell(quantity, handover.stop_price):
        return NextSteps(queue=[_protection(handover, orders, quantity, target, rules)])
    live = [order for order in orders if order.role == "protection" and order.is_live]
    moved = [order for order in live if order.price != target and order.state == "open"]
    if moved and not any(order.cancel_wanted for order in live):
        return NextSteps(cancel=[moved[0].client_id])
    return NextSteps()


def _protection(
    handover: Handover, orders: Sequence[OutboxOrder], quantity: Decimal, target: Decimal | None, rules: MarketRules
) -> OutboxOrder:
    number = sum(order.role == "protection" for order in orders)
    stop = rules.round_price(handover.stop_price)
    return _order(handover, "protection", number, quantity, kind="protection", price=target, stop_price=stop)


def _closing(
    handover: Handover,
    orders: Sequence[OutboxOrder],
    view: PositionView,
    rules: MarketRules,
    price: Decimal | None,
    reason: str,
    *,
    is_sold_now: bool,
) -> NextSteps:
    live = [order for order in orders if order.is_live]
    entries = [order.client_id for order in live if order.role == "entry" and not order.cancel_wanted]
    # a stop that still rests does what is wanted, unless the position is to be sold now
    resting = [order for order in live if order.role == "protection"]
    if not is_sold_now:
        resting = [order for order in resting if not order.stop_rests and order.filled > 0]
    cancels = entries + [order.client_id for order in resting if not order.cancel_wanted]
    quantity = rules.floor_quantity(view.uncovered)
    if rules.can_sell(quantity, price or handover.stop_price) and _may_sell_again(orders):
        number = sum(order.role == "exit" for order in orders)
        return NextSteps([_order(handover, "exit", number, quantity, kind="market")], cancels, "closing", reason)
    is_over = not live and not rules.can_sell(quantity, price or handover.stop_price)
    return NextSteps(cancel=cancels, state="closed" if is_over else "closing", reason=reason)


def _may_sell_again(orders: Sequence[OutboxOrder]) -> bool:
    """Whether enough time has passed since the venue refused the last sale: each pause is twice the one before."""
    exits = [order for order in orders if order.role == "exit"]
    refused = 0
    for order in reversed(exits):
        if order.state != "rejected":
            break
        refused += 1
    waited = exits[-1].since_attempt if refused else None
    return waited is None or waited >= min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**refused)


def _order(
    handover: Handover,
    role: Role,
    number: int,
    quantity: Decimal,
    *,
    kind: Literal["market", "limit", "protection"],
    price: Decimal | None = None,
    stop_price: Decimal | None = None,
) -> OutboxOrder:
    name = client_order_id(handover.broker, handover.strategy, handover.instrument, handover.signal_ts, role, number)
    side: Literal["buy", "sell"] = "buy" if role == "entry" else "sell"
    return OutboxOrder(name, handover.handover_id, role, number, side, kind, quantity, price, stop_price)
