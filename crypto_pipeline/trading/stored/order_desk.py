"""The order desk: it carries out what is handed over, so that nothing is lost, doubled or unprotected.

One step asks, plans and sends, and is repeated for ever. Everything that it decides from is stored, so a process that
is killed at any moment is replaced by the next one:
- An order is stored before it is sent, and is ``unknown`` until the venue was heard or asked.
- An unknown order is asked for by its id. It is sent again where the venue knows nothing of it, and no attempt can
  arrive any more. A protection is sent again at once: the venue refuses its double, until it is cancelled.
- Fills are taken from the venue alone, each once by its id.
- No entry is sent before a comparison with the venue passed (``reconcile``); protections and exits always are.
One desk works at a time: its caller holds the lease ``LEASE``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from crypto_pipeline.store.trading.orders_outbox import Handover, OrderOutbox, OutboxOrder, StatedFill
from crypto_pipeline.trading.brokers.client_ids import PREFIX
from crypto_pipeline.trading.brokers.opt_in import require_opt_in
from crypto_pipeline.trading.brokers.plan import next_steps
from crypto_pipeline.trading.brokers.port import (
    Broker,
    BrokerError,
    BrokerOrder,
    MarketRules,
    OrderNotSent,
    OrderRejected,
    OrderUnanswered,
    VenueOrder,
)

log = logging.getLogger(__name__)
#: The lease of the one process that sends orders.
LEASE = "order_desk"
#: What is sent first.
_URGENCY = {"protection": 0, "exit": 1, "entry": 2}
#: Rounds of one step: a fill is protected, and a cancelled protection replaced, without waiting for the next step.
_ROUNDS = 6
#: So often differences are looked at again, after what happened meanwhile was booked.
_COMPARISONS = 3


@dataclass(slots=True)
class DeskReport:
    """What one step did. ``waiting``: orders that are cancelled once no earlier attempt can arrive any more."""

    sent: int = 0
    waiting: int = 0
    asked: int = 0
    fills: int = 0
    planned: int = 0
    errors: int = 0

    @property
    def changes(self) -> int:
        """How often something changed."""
        return self.sent + self.fills + self.planned


@dataclass(slots=True)
class _Position:
    handover: Handover
    orders: list[OutboxOrder]
    fills: list[StatedFill]


class OrderDesk:
    """Carries out the open hand-overs of one broker.

    ``now`` is the market's clock, UTC; ``opt_in``: what a person typed, which real money demands; ``pause``: seconds
    until an order that was certainly not booked is sent again. Raises BrokerError for real money without it.
    """

    def __init__(
        self,
        outbox: OrderOutbox,
        broker: Broker,
        now: Callable[[], datetime],
        *,
        opt_in: str | None = None,
        pause: float = 0.5,
    ) -> None:
        require_opt_in(broker, opt_in)
        self.outbox, self.broker, self.now, self.pause = outbox, broker, now, pause
        self.entries_allowed = False
        self._rules: dict[str, MarketRules] = {}

    # Comparing ------------------------------------------------------------------------------------------------------

    def reconcile(self) -> list[str]:
        """Compare our orders and positions with the venue's; the differences, which are stored. Entries follow only a
        comparison without any.

        An order of ours that outlived its position is cancelled. What the account holds beyond our positions is a
        person's own and no difference. What happens at the venue meanwhile is booked before a difference counts. Raises
        BrokerError where the venue does not answer.
        """
        self.entries_allowed = False
        found: list[str] = []
        for _ in range(_COMPARISONS):
            found = compare(self.outbox, self.broker, cancels=True)
            if not found:
                break
            self.step()
        self.outbox.reconciled(self.broker.name, found)
        self.entries_allowed = not found
        return found

    def _handovers(self, *, closed: bool = False) -> list[Handover]:
        return self.outbox.handovers(self.broker.name, closed=closed)

    def recover(self, most_steps: int = 100) -> list[str]:
        """After a start: ask for what is unknown and protect what is held, then compare. The differences."""
        for _ in range(most_steps):
            self.step()
            if not self.outbox.counts(self.broker.name).get("unknown"):
                break
        return self.reconcile()

    # One step -------------------------------------------------------------------------------------------------------

    def step(self) -> DeskReport:
        """Ask, plan and send, until nothing more can be done now."""
        report = DeskReport()
        for _ in range(_ROUNDS):
            before = report.changes
            self._round(report)
            if report.changes == before:
                break
        return report

    def _round(self, report: DeskReport) -> None:
        positions = self._positions()
        is_known = self._ask(positions, report)
        waiting: list[tuple[Handover, OutboxOrder]] = []
        for position in positions:
            try:
                orders = self._plan(position, report) if is_known else position.orders
                waiting += [(position.handover, order) for order in orders if order.state == "queued"]
            except BrokerError as error:
                report.errors += 1
                log.warning("%s: %s", position.handover.instrument, error)
        for handover, order in sorted(waiting, key=lambda one: _URGENCY[one[1].role]):
            if order.due and (order.role != "entry" or self.entries_allowed or self.now() > handover.enter_until):
                self._send(handover, order, report)

    def _positions(self) -> list[_Position]:
        handovers = self._handovers()
        numbers = [one.handover_id for one in handovers]
        orders, fills = self.outbox.orders(numbers), self.outbox.fills(numbers)
        return [
            _Position(
                one,
                [order for order in orders if order.handover_id == one.handover_id],
                [fill for fill in fills if fill.handover_id == one.handover_id],
            )
            for one in handovers
        ]

    # Asking ---------------------------------------------------------------------------------------------------------

    def _ask(self, positions: Sequence[_Position], report: DeskReport) -> bool:
        """Bring what is known of sent orders up to date, and cancel what is to be cancelled; False where the venue does
        not answer, so that nothing new is planned."""
        if not any(order.state in ("open", "unknown") for one in positions for order in one.orders):
            resting: dict[str, VenueOrder] = {}
        else:
            try:
                resting = dict(self.broker.open_orders())
            except BrokerError as error:
                report.errors += 1
                log.warning("open orders: %s", error)
                return False
        for position in positions:
            for place, order in enumerate(position.orders):
                try:
                    position.orders[place] = self._ask_one(position, order, resting, report)
                except BrokerError as error:
                    report.errors += 1
                    log.warning("order %s of %s: %s", order.client_id, position.handover.instrument, error)
        return True

    def _ask_one(
        self, position: _Position, order: OutboxOrder, resting: dict[str, VenueOrder], report: DeskReport
    ) -> OutboxOrder:
        asked = _broker_order(order, position.handover.instrument)
        if order.state in ("open", "unknown"):
            there = resting.get(order.client_id)
            if there is not None and order.cancel_wanted and not self._cancel_waits(order, report):
                self.broker.cancel(asked)
                there = None
            if there is None:
                there = self.broker.find(asked)
            report.asked += 1
            if there is not None:
                order = self._record(order, there)
            elif order.state == "open":
                log.error("order %s of %s is gone from the venue", order.client_id, asked.instrument)
                order = self._end(order, "cancelled", "the venue knows it no more")
            else:
                order = self._absent(order)
        return self._book(position, order, report)

    def _cancel_waits(self, order: OutboxOrder, report: DeskReport) -> bool:
        """Whether an earlier attempt may still reach the venue, which would book it once this one is gone; counted."""
        waits = order.attempts > 1 and (order.since_attempt or 0.0) < self.broker.traits.settle_seconds
        report.waiting += waits
        return waits

    def _absent(self, order: OutboxOrder) -> OutboxOrder:
        """An unknown order of which the venue knows nothing: it is sent again once it can no longer arrive."""
        traits = self.broker.traits
        rests = order.kind == "protection" and traits.refuses_doubles
        if order.since_attempt is None or rests or order.since_attempt >= traits.settle_seconds:
            if order.cancel_wanted:
                return self._end(order, "cancelled", "it was never booked")
            self.outbox.requeue(order.client_id, "the venue did not know it", 0.0)
            return replace(order, state="queued", due=True)
        return order

    def _record(self, order: OutboxOrder, there: VenueOrder) -> OutboxOrder:
        changed = replace(
            order, state=there.state, filled=there.filled, stop_rests=there.stop_rests, venue_id=there.venue_id
        )
        if changed != order:
            self.outbox.record(
                order.client_id,
                there.state,
                filled=there.filled,
                stop_rests=there.stop_rests,
                venue_id=there.venue_id,
            )
        return changed

    def _end(self, order: OutboxOrder, state: str, error: str) -> OutboxOrder:
        ended = replace(order, state=state, error=error)  # type: ignore[arg-type]
        self.outbox.record(order.client_id, ended.state, filled=order.filled, error=error)
        return ended

    def _book(self, position: _Position, order: OutboxOrder, report: DeskReport) -> OutboxOrder:
        """Fetch the fills of an order of which the venue said more than is booked."""
        booked = sum((fill.quantity for fill in position.fills if fill.client_id == order.client_id), Decimal(0))
        if order.filled <= booked:
            return order
        known = {fill.fill_id for fill in position.fills}
        instrument = position.handover.instrument
        fills = {
            fill.fill_id: StatedFill(
                fill.fill_id, order.client_id, order.handover_id, instrument, fill.side, fill.price, fill.quantity,
                fill.fee, fill.fee_asset, fill.time,
            )
            for fill in self.broker.fills(_broker_order(order, instrument))
            if fill.fill_id not in known
        }  # fmt: skip
        self.outbox.book(self.broker.name, list(fills.values()))
        position.fills += fills.values()
        report.fills += len(fills)
        return order

    # Planning and sending -------------------------------------------------------------------------------------------

    def _plan(self, position: _Position, report: DeskReport) -> list[OutboxOrder]:
        """Store what is to be done next; all orders of the position that are known afterwards."""
        handover, traits = position.handover, self.broker.traits
        compares = not (traits.stops and traits.pairs) and bool(position.fills)
        refused = any(order.state == "rejected" for order in position.orders)
        price = self.broker.price(handover.instrument) if compares or refused else None
        rules = self._rule(handover.instrument)
        steps = next_steps(handover, position.orders, position.fills, rules, traits, self.now(), price)
        if steps.queue or steps.cancel:
            self.outbox.queue(steps.queue, steps.cancel)
        if steps.state != handover.state:
            self.outbox.set_state(handover.handover_id, steps.state, steps.reason)
        report.planned += len(steps.queue) + len(steps.cancel) + (steps.state != handover.state)
        wanted = set(steps.cancel)
        known = [replace(one, cancel_wanted=True) if one.client_id in wanted else one for one in position.orders]
        return known + steps.queue

    def _send(self, handover: Handover, order: OutboxOrder, report: DeskReport) -> None:
        if order.role == "entry" and self.now() > handover.enter_until:
            self._end(order, "expired", "too late to enter")
            return
        if order.cancel_wanted:
            self._end(order, "cancelled", "cancelled before it was sent")
            return
        claimed_at = time.time()
        if not self.outbox.claim(order.client_id):
            return
        report.sent += 1
        try:
            sent = replace(_broker_order(order, handover.instrument), claimed_at=claimed_at)
            self._record(order, self.broker.submit(sent))
        except OrderRejected as error:
            self._end(order, "rejected", str(error))
            log.warning("order %s of %s was refused: %s", order.client_id, handover.instrument, error)
        except OrderNotSent as error:
            self.outbox.requeue(order.client_id, str(error), self.pause)
        except OrderUnanswered as error:
            self.outbox.attempted(order.client_id, str(error))
            log.warning("order %s of %s is unknown: %s", order.client_id, handover.instrument, error)

    def _rule(self, instrument: str) -> MarketRules:
        if instrument not in self._rules:
            self._rules[instrument] = self.broker.rules(instrument)
        return self._rules[instrument]


def compare(outbox: OrderOutbox, broker: Broker, *, cancels: bool = False) -> list[str]:
    """Differences between our orders and positions and those of the venue.

    With ``cancels`` an order of ours that outlived its position is cancelled instead. Raises BrokerError.
    """
    handovers = {one.handover_id: one.instrument for one in outbox.handovers(broker.name, closed=True)}
    orders = {order.client_id: order for order in outbox.orders(list(handovers))}
    found = [f"order {one.client_id} is {one.state}" for one in orders.values() if one.state == "unknown"]
    for name, there in broker.open_orders().items():
        known = orders.get(name)
        if known is None:
            found.append(f"order {name} of {there.instrument} rests at the venue and is not known here")
        elif not known.is_live and cancels:
            broker.cancel(_broker_order(known, there.instrument))
            log.warning("order %s of %s outlived its position: cancelled", name, there.instrument)
        elif not known.is_live:
            found.append(f"order {name} of {there.instrument} rests at the venue and is {known.state} here")
    held, ours = broker.balances(), outbox.changes(broker.name)
    for asset in sorted({broker.rules(instrument).base for instrument in handovers.values()}):
        at_venue, here = held.get(asset, Decimal(0)), ours.get(asset, Decimal(0))
        if here > at_venue:
            found.append(f"{asset}: the venue holds {at_venue}, our positions {here}")
    return found


def _broker_order(order: OutboxOrder, instrument: str) -> BrokerOrder:
    assert order.client_id.startswith(PREFIX)
    return BrokerOrder(
        order.client_id,
        instrument,
        order.side,
        order.kind,
        order.quantity,
        order.price,
        order.stop_price,
        order.venue_id,
        queued_at=order.queued_at,
    )
