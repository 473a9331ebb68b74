"""One account: it takes orders, cancels them, and fills them by the trades of the tape.

Rules of filling, for orders that are small beside the market:
- What is sent to the market (a market order, a limit that crosses, a triggered stop) trades at once, one tick worse
  than the last traded price, never beyond its limit. A stop that a gap passes therefore fills behind the gap.
- A resting limit is filled whole by a trade through its price, and by a trade at its price up to that trade's quantity,
  where the aggressor stood on the other side.
- An order pair (OCO) ends its other order with the first execution or trigger of one.
Events are appended to ``events`` and are never changed. Everything is exact: balances are conserved to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_UP, Decimal
from itertools import count
from typing import Literal

from crypto_pipeline.replay.orders.rules import check_request, crosses, reached
from crypto_pipeline.replay.orders.types import (
    LIMITED,
    TRIGGERED,
    ZERO,
    BookedOrder,
    Execution,
    OrderEvent,
    OrderPair,
    OrderRefused,
    OrderRequest,
    OrderRules,
    Wallet,
)

PLACES = Decimal("0.00000001")
EventKind = Literal["NEW", "TRADE", "CANCELED", "EXPIRED"]
#: A trade of the tape: price, quantity, time in Unix ms, whether the buyer rested (the seller was the aggressor).
TapeTrade = tuple[Decimal, Decimal, int, bool]


class TradingAccount:
    """The orders and balances of one API key. ``fee`` is a fraction of what is received, on every side."""

    def __init__(self, balances: Mapping[str, Decimal], fee: Decimal = Decimal("0.0026")) -> None:
        self.wallet, self.fee = Wallet(), fee
        for asset, amount in balances.items():
            self.wallet.of(asset).free = amount
        self.orders: dict[int, BookedOrder] = {}
        self.pairs: dict[int, OrderPair] = {}
        self.executions: list[Execution] = []
        self.events: list[OrderEvent] = []
        self.rules: dict[str, OrderRules] = {}
        self._open: dict[str, dict[int, BookedOrder]] = {}
        self._numbers, self._trades, self._lists = count(1), count(1), count(1)

    # Asking ---------------------------------------------------------------------------------------------------------

    def open_orders(self, symbol: str | None = None) -> list[BookedOrder]:
        """Open orders, oldest first."""
        names = list(self._open) if symbol is None else [symbol]
        return sorted(
            (order for name in names for order in self._open.get(name, {}).values()), key=lambda o: o.order_id
        )

    def open_symbols(self) -> list[str]:
        """Symbols with open orders."""
        return [symbol for symbol, orders in self._open.items() if orders]

    def find(self, symbol: str, order_id: int | None, client_id: str | None) -> BookedOrder | None:
        """An order by its number, or the newest one of this client's id."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return order if order is not None and order.request.symbol == symbol else None
        for order in reversed(self.orders.values()):
            if order.client_id == client_id and order.request.symbol == symbol:
                return order
        return None

    # Taking and cancelling ------------------------------------------------------------------------------------------

    def submit(
        self,
        request: OrderRequest,
        rules: OrderRules,
        last: Decimal,
        now_ms: int,
        *,
        share: Decimal = Decimal(1),
        rest_ms: int = 0,
    ) -> BookedOrder:
        """Take an order. Raises OrderRefused.

        Of an immediate execution ``share`` comes now and the rest ``rest_ms`` later: a fault that may be asked for.
        """
        check_request(request, rules, last)
        if request.time_in_force == "FOK" and not crosses(request, last):
            return self._expired(self._book(request, rules, last, now_ms), now_ms)
        order = self._book(request, rules, last, now_ms)
        if request.type in TRIGGERED:
            return order
        if request.type == "MARKET" or crosses(request, last):
            self._take(order, rules, last, now_ms, share, rest_ms)
        if request.time_in_force == "IOC" and order.is_open and order.rest_due_ms is None:
            self._expired(order, now_ms)
        return order

    def submit_pair(
        self, first: OrderRequest, second: OrderRequest, rules: OrderRules, last: Decimal, now_ms: int, client_id: str
    ) -> OrderPair:
        """Take a limit and a stop of one side and quantity, of which one cancels the other. Raises OrderRefused."""
        limit, stop = (
            (first, second) if first.type in ("LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT") else (second, first)
        )
        above = limit.price or limit.stop_price
        right = above > last > stop.stop_price if limit.side == "SELL" else above < last < stop.stop_price
        if first.side != second.side or first.quantity != second.quantity or stop.type not in TRIGGERED or not right:
            raise OrderRefused(-2010, "The relationship of the prices for the orders is not correct.")
        for one in (limit, stop):
            check_request(one, rules, last)
            self._refuse_double(one)
        number = next(self._lists)
        # one lock for both: only one of them can be filled
        booked = [self._book(one, rules, last, now_ms, list_id=number, locks=one is limit) for one in (limit, stop)]
        pair = OrderPair(
            number, client_id or f"list-{number}", limit.symbol, (booked[0].order_id, booked[1].order_id), now_ms
        )
        self.pairs[number] = pair
        return pair

    def cancel(self, symbol: str, order_id: int | None, client_id: str | None, now_ms: int) -> BookedOrder:
        """Cancel an open order, and the other one of its pair. Raises OrderRefused."""
        order = self.find(symbol, order_id, client_id)
        if order is None or not order.is_open:
            raise OrderRefused(-2011, "Unknown order sent.")
        self._end(order, "CANCELED", now_ms)
        other = self._other(order)
        if other is not None and other.is_open:
            self._end(other, "CANCELED", now_ms)
        return order

    def cancel_pair(self, list_id: int, now_ms: int) -> OrderPair:
        """Cancel both orders of a pair. Raises OrderRefused."""
        pair = self.pairs.get(list_id)
        if pair is None or pair.is_over:
            raise OrderRefused(-2011, "Unknown order list sent.")
        self.cancel(pair.symbol, next(one for one in pair.orders if self.orders[one].is_open), None, now_ms)
        return pair

    def _refuse_double(self, request: OrderRequest) -> None:
        """Binance compares ids with those of open orders only: an id of a filled order may be used again."""
        if request.client_id and any(
            order.client_id == request.client_id for order in self._open.get(request.symbol, {}).values()
        ):
            raise OrderRefused(-2010, "Duplicate order sent.")

    def _book(
        self,
        request: OrderRequest,
        rules: OrderRules,
        last: Decimal,
        now_ms: int,
        *,
        list_id: int = -1,
        locks: bool = True,
    ) -> BookedOrder:
        self._refuse_double(request)
        if request.side == "SELL":
            held = request.quantity
        else:
            held = (request.price or request.stop_price or last + rules.tick) * request.quantity
        if locks:
            self.wallet.lock(rules.base if request.side == "SELL" else rules.quote, held)
        number = next(self._numbers)
        order = BookedOrder(number, request, request.client_id or f"order-{number}", now_ms, now_ms, list_id=list_id)
        order.triggered = request.type not in TRIGGERED
        order.locked = held if locks else ZERO
        self.orders[number] = order
        self.rules[request.symbol] = rules
        self._open.setdefault(request.symbol, {})[number] = order
        self._tell("NEW", order, now_ms)
        return order

    def _other(self, order: BookedOrder) -> BookedOrder | None:
        pair = self.pairs.get(order.list_id)
        if pair is None:
            return None
        return self.orders[pair.orders[0] if pair.orders[1] == order.order_id else pair.orders[1]]

    def _expired(self, order: BookedOrder, now_ms: int) -> BookedOrder:
        self._end(order, "EXPIRED", now_ms)
        return order

    def _end(self, order: BookedOrder, status: Literal["CANCELED", "EXPIRED"], now_ms: int) -> None:
        """End an open order without a further fill; what it held is free again."""
        self._release(order)
        order.status, order.update_ms, order.rest_due_ms = status, now_ms, None
        self._close(order)
        self._tell(status, order, now_ms)

    def _close(self, order: BookedOrder) -> None:
        self._open[order.request.symbol].pop(order.order_id, None)
        pair = self.pairs.get(order.list_id)
        if pair is not None:
            pair.is_over = not any(self.orders[one].is_open for one in pair.orders)

    def _release(self, order: BookedOrder) -> None:
        rules = self.rules[order.request.symbol]
        self.wallet.unlock(rules.base if order.request.side == "SELL" else rules.quote, order.locked)
        order.locked = ZERO

    def _tell(self, kind: EventKind, order: BookedOrder, now_ms: int, execution: Execution | None = None) -> None:
        self.events.append(OrderEvent(kind, replace(order), now_ms, execution))

    # Filling --------------------------------------------------------------------------------------------------------

    def trade(self, symbol: str, trade: TapeTrade) -> None:
        """Let one trade of the tape trigger and fill what is open of its symbol, oldest order first."""
        price, left, now_ms, buyer_rested = trade
        for order in list(self._open.get(symbol, {}).values()):
            if not order.is_open:
                continue  # its pair ended it
            request = order.request
            if not order.triggered:
                if reached(request, price):
                    self._trigger(order, price, now_ms)
            elif request.type in LIMITED and order.rest_due_ms is None:
                through = price < request.price if request.side == "BUY" else price > request.price
                at = price == request.price and buyer_rested == (request.side == "BUY")
                quantity = order.remaining if through else min(order.remaining, left) if at else ZERO
                if quantity > 0:
                    left -= quantity if at else ZERO
                    self._fill(order, request.price, quantity, now_ms, is_maker=True)

    def finish_due(self, symbol: str, last: Decimal, now_ms: int) -> None:
        """Execute what is due of executions that a fault delayed, at the last traded price."""
        for order in list(self._open.get(symbol, {}).values()):
            if order.rest_due_ms is not None and order.rest_due_ms <= now_ms:
                order.rest_due_ms = None
                self._take(order, self.rules[symbol], last, now_ms)

    def _trigger(self, order: BookedOrder, price: Decimal, now_ms: int) -> None:
        order.triggered = True
        other = self._other(order)
        if other is not None and other.is_open:
            order.locked, other.locked = order.locked + other.locked, ZERO
            self._end(other, "EXPIRED", now_ms)
        if order.request.type not in LIMITED or crosses(order.request, price):
            self._take(order, self.rules[order.request.symbol], price, now_ms)

    def _take(
        self,
        order: BookedOrder,
        rules: OrderRules,
        last: Decimal,
        now_ms: int,
        share: Decimal = Decimal(1),
        rest_ms: int = 0,
    ) -> None:
        """Trade with the market at once, one tick worse than its last price."""
        request = order.request
        price = last + rules.tick if request.side == "BUY" else max(last - rules.tick, rules.tick)
        if request.type in LIMITED:
            if not crosses(request, last):
                return  # it rests
            price = min(price, request.price) if request.side == "BUY" else max(price, request.price)
        quantity = (order.remaining * share // rules.step) * rules.step
        if quantity < order.remaining:
            order.rest_due_ms = now_ms + rest_ms
        if quantity > 0:
            self._fill(order, price, quantity, now_ms, is_maker=False)

    def _fill(self, order: BookedOrder, price: Decimal, quantity: Decimal, now_ms: int, *, is_maker: bool) -> None:
        other = self._other(order)
        if other is not None and other.is_open:
            order.locked, other.locked = order.locked + other.locked, ZERO
            self._end(other, "EXPIRED", now_ms)
        rules, request = self.rules[order.request.symbol], order.request
        cost = price * quantity
        held = order.locked if quantity == order.remaining else order.locked * quantity / order.remaining
        received, paid_with, paid = (
            (rules.base, rules.quote, cost) if request.side == "BUY" else (rules.quote, rules.base, quantity)
        )
        amount = quantity if request.side == "BUY" else cost
        purse = self.wallet.of(paid_with)
        if paid > held + purse.free:
            self._end(order, "EXPIRED", now_ms)  # the price ran away from what is there
            return
        purse.locked -= held
        purse.free += held - paid
        order.locked -= held
        commission = (amount * self.fee).quantize(PLACES, ROUND_UP)
        self.wallet.of(received).free += amount - commission
        order.filled += quantity
        order.filled_quote += cost
        order.update_ms = now_ms
        order.status = "FILLED" if order.remaining == 0 else "PARTIALLY_FILLED"
        made = Execution(
            next(self._trades), order.order_id, order.client_id, request.symbol, request.side, price, quantity,
            commission, received, now_ms, is_maker,
        )  # fmt: skip
        self.executions.append(made)
        if order.status == "FILLED":
            self._release(order)
            self._close(order)
        self._tell("TRADE", order, now_ms, made)
