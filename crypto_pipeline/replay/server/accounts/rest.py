"""The signed endpoints: orders, pairs, fills, the account. Faults of orders apply here, others around all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, cast, get_args

from aiohttp import web

from crypto_pipeline.replay.faults.book import Call, FaultBook
from crypto_pipeline.replay.faults.orders import (
    DuplicateFills,
    LateFills,
    OrderClockSkew,
    OrderPartial,
    OrderReject,
    OrderTimeout,
)
from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.orders.rules import rules_of
from crypto_pipeline.replay.orders.types import BookedOrder, OrderRefused, OrderRequest, OrderType, Side, TimeInForce
from crypto_pipeline.replay.server.accounts.desk import AccountDesk
from crypto_pipeline.replay.server.accounts.rendering import account_row, fill_row, new_order, order_row, pair_row
from crypto_pipeline.replay.server.accounts.signed import decimal_value, signed_parameters
from crypto_pipeline.replay.server.parameters import Refused, mandatory, row_limit, whole_number
from crypto_pipeline.replay.server.rest import json_answer

Values = Mapping[str, str]
Answer = Callable[[TradingAccount, Values], Any]


class AccountHandlers:
    """The handlers of signed endpoints over the accounts of a desk."""

    def __init__(self, desk: AccountDesk, faults: FaultBook) -> None:
        self.desk, self.faults, self.clock = desk, faults, desk.clock
        self._late: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        given = "/api/v3"
        return [
            web.post(f"{given}/order", self._changing("order", self._submit)),
            web.delete(f"{given}/order", self._changing("order", self._cancel)),
            web.get(f"{given}/order", self._asking(self._order)),
            web.post(f"{given}/orderList/oco", self._changing("oco", self._submit_pair)),
            web.delete(f"{given}/orderList", self._changing("orderList", self._cancel_pair)),
            web.get(f"{given}/orderList", self._asking(self._pair)),
            web.get(f"{given}/openOrders", self._asking(self._open_orders)),
            web.get(f"{given}/allOrders", self._asking(self._all_orders)),
            web.get(f"{given}/myTrades", self._asking(self._fills)),
            web.get(f"{given}/account", self._asking(lambda account, _: account_row(account, self.clock.now_ms()))),
        ]

    def venue_ms(self, endpoint: str) -> int:
        """The exchange's time as it sees it itself: a fault may set its clock wrong."""
        skew = self.faults.strikes(OrderClockSkew, Call(endpoint))
        return self.clock.now_ms() + (skew.milliseconds if skew is not None else 0)

    # Requests -------------------------------------------------------------------------------------------------------

    def _asking(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return json_answer(self._answer(*await self._signed(request), answer))

        return handle

    def _changing(self, endpoint: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            account, values = await self._signed(request)
            call = Call(endpoint, values.get("symbol"))
            lost = self.faults.strikes(OrderTimeout, call)
            if lost is None:
                return json_answer(self._answer(account, values, answer))
            if lost.booked:
                await self._lost(account, values, answer, lost)
            return await _no_answer(request, lost)

        return handle

    async def _lost(self, account: TradingAccount, values: Values, answer: Answer, fault: OrderTimeout) -> None:
        """Execute a request whose answer nobody gets, now or later."""

        async def later() -> None:
            await asyncio.sleep(fault.late)
            window = whole_number(values, "recvWindow") or 5000
            if self.clock.now_ms() - int(values["timestamp"]) <= window:
                self._quietly(account, values, answer)

        if not fault.late:
            self._quietly(account, values, answer)
            return
        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _quietly(self, account: TradingAccount, values: Values, answer: Answer) -> None:
        try:
            self._answer(account, values, answer)
        except Refused:
            pass

    def _answer(self, account: TradingAccount, values: Values, answer: Answer) -> Any:
        self.desk.advance()
        try:
            return answer(account, values)
        except OrderRefused as refused:
            raise Refused(refused.code, refused.message) from None

    async def _signed(self, request: web.Request) -> tuple[TradingAccount, dict[str, str]]:
        payload = request.rel_url.raw_query_string + (await request.text() if request.can_read_body else "")
        endpoint = request.path.rpartition("/")[2]
        key, values = signed_parameters(
            payload, request.headers.get("X-MBX-APIKEY"), self.desk.keys, self.venue_ms(endpoint)
        )
        return self.desk.accounts[key], values

    # Orders ---------------------------------------------------------------------------------------------------------

    def _submit(self, account: TradingAccount, values: Values) -> Any:
        request = _order_request(values, "")
        info = self.desk.listed(request.symbol)
        call = Call("order", request.symbol)
        self._reject(call)
        now = self.clock.now_ms()
        if info.status(now) != "TRADING":
            raise Refused(-1013, "Market is closed.")
        partial = self.faults.strikes(OrderPartial, call)
        share, rest = (Decimal(1), 0) if partial is None else (Decimal(str(partial.share)), int(partial.seconds * 1000))
        last = self.desk.last_price(request.symbol, now)
        order = account.submit(request, rules_of(info), last, now, share=share, rest_ms=rest)
        self.desk.follow(request.symbol, now)
        return new_order(order, [fill for fill in account.executions if fill.order_id == order.order_id])

    def _reject(self, call: Call) -> None:
        refused = self.faults.strikes(OrderReject, call)
        if refused is not None:
            raise Refused(refused.code, refused.message)

    def _submit_pair(self, account: TradingAccount, values: Values) -> Any:
        symbol = mandatory(values, "symbol")
        info, now = self.desk.listed(symbol), self.clock.now_ms()
        self._reject(Call("oco", symbol))
        legs = (_order_request(values, "above"), _order_request(values, "below"))
        last = self.desk.last_price(symbol, now)
        name = values.get("listClientOrderId", "")
        pair = account.submit_pair(*legs, rules_of(info), last, now, name)
        self.desk.follow(symbol, now)
        return pair_row(pair, account)

    def _cancel(self, account: TradingAccount, values: Values) -> Any:
        symbol, number, name = self._which(values)
        order = account.cancel(symbol, number, name, self.clock.now_ms())
        return order_row(order) | {"origClientOrderId": order.client_id, "transactTime": order.update_ms}

    def _cancel_pair(self, account: TradingAccount, values: Values) -> Any:
        pair = self._find_pair(account, values)
        return pair_row(account.cancel_pair(pair.list_id, self.clock.now_ms()), account)

    def _order(self, account: TradingAccount, values: Values) -> Any:
        order = account.find(*self._which(values))
        if order is None:
            raise Refused(-2013, "Order does not exist.")
        return order_row(order)

    def _pair(self, account: TradingAccount, values: Values) -> Any:
        return pair_row(self._find_pair(account, values), account)

    def _find_pair(self, account: TradingAccount, values: Values) -> Any:
        number = whole_number(values, "orderListId")
        name = values.get("listClientOrderId") or values.get("origClientOrderId")
        for pair in reversed(account.pairs.values()):
            if pair.list_id == number or (number is None and pair.client_id == name):
                return pair
        raise Refused(-2018, "Order list does not exist.")

    def _which(self, values: Values) -> tuple[str, int | None, str | None]:
        symbol = self.desk.listed(mandatory(values, "symbol")).symbol
        number, name = whole_number(values, "orderId"), values.get("origClientOrderId")
        if number is None and not name:
            raise Refused(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        return symbol, number, name

    # Lists ----------------------------------------------------------------------------------------------------------

    def _open_orders(self, account: TradingAccount, values: Values) -> Any:
        symbol = values.get("symbol")
        return [order_row(one) for one in account.open_orders(symbol and self.desk.listed(symbol).symbol)]

    def _all_orders(self, account: TradingAccount, values: Values) -> Any:
        symbol, least = self.desk.listed(mandatory(values, "symbol")).symbol, whole_number(values, "orderId")
        start, end = whole_number(values, "startTime"), whole_number(values, "endTime")

        def wanted(order: BookedOrder) -> bool:
            return (
                order.request.symbol == symbol
                and (least is None or order.order_id >= least)
                and (start is None or order.time_ms >= start)
                and (end is None or order.time_ms <= end)
            )

        found = [order_row(one) for one in account.orders.values() if wanted(one)]
        limit = row_limit(values)
        return found[:limit] if least is not None or start is not None else found[-limit:]

    def _fills(self, account: TradingAccount, values: Values) -> Any:
        symbol = self.desk.listed(mandatory(values, "symbol")).symbol
        number, least = whole_number(values, "orderId"), whole_number(values, "fromId")
        start, call = whole_number(values, "startTime"), Call("myTrades", symbol)
        late = self.faults.strikes(LateFills, call)
        newest = self.clock.now_ms() - (int(late.seconds * 1000) if late is not None else 0)
        rows = [
            fill_row(fill, account.orders[fill.order_id].list_id)
            for fill in account.executions
            if fill.symbol == symbol
            and fill.time_ms <= newest
            and (number is None or fill.order_id == number)
            and (least is None or fill.trade_id >= least)
            and (start is None or fill.time_ms >= start)
        ]
        limit = row_limit(values)
        rows = rows[:limit] if least is not None or start is not None else rows[-limit:]
        twice = self.faults.strikes(DuplicateFills, call) is not None
        return [row for row in rows for _ in range(2)] if twice else rows


def _order_request(values: Values, leg: str) -> OrderRequest:
    """The order of a request, or one leg (``above``, ``below``) of a pair. Raises Refused."""

    def named(name: str) -> str:
        return leg + name[0].upper() + name[1:] if leg else name

    kind, side = mandatory(values, named("type")), mandatory(values, "side")
    if kind not in get_args(OrderType):
        raise Refused(-1116, "Invalid orderType.")
    if side not in get_args(Side):
        raise Refused(-1117, "Invalid side.")
    needs_force = kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
    force = mandatory(values, named("timeInForce")) if needs_force else "GTC"
    if force not in get_args(TimeInForce):
        raise Refused(-1115, "Invalid timeInForce.")
    return OrderRequest(
        mandatory(values, "symbol"),
        cast(Side, side),
        cast(OrderType, kind),
        decimal_value(values, "quantity", required=True),
        decimal_value(values, named("price"), required=needs_force or kind == "LIMIT_MAKER"),
        decimal_value(values, named("stopPrice"), required=kind.startswith(("STOP", "TAKE"))),
        cast(TimeInForce, force),
        values.get(named("clientOrderId") if leg else "newClientOrderId", ""),
    )


async def _no_answer(request: web.Request, fault: OrderTimeout) -> web.StreamResponse:
    if fault.manner == "unknown":
        text = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
        return json_answer({"code": -1007, "msg": text}, 503)
    if fault.manner == "hang":
        deadline, transport = time.monotonic() + 3600, request.transport
        while transport is not None and not transport.is_closing() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
