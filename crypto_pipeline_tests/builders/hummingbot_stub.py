"""A stub of Hummingbot's HTTP API: paths, bodies and answers of its published server, over an account of replay.

``loses`` answers are never sent although the order was placed, ``fails`` orders get a 500 without being placed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import BasicAuth, web

from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.orders.types import BookedOrder, OrderRefused, OrderRequest, OrderRules

PAIR, RULES = "BTC-USDT", OrderRules("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
USER, PASSWORD, ACCOUNT, CONNECTOR = "user", "password", "master_account", "binance_paper_trade"
_WORDS = {"NEW": "OPEN", "CANCELED": "CANCELLED", "EXPIRED": "FAILED"}


class HummingbotStub:
    """One account on one connector, whose price is set by the test."""

    def __init__(self) -> None:
        self.account = TradingAccount({"USDT": Decimal(1_000_000), "BTC": Decimal(0)})
        self.price, self.loses, self.fails = Decimal(90_000), 0, 0
        self.url = ""

    def move(self, price: int) -> None:
        """Trade at another price."""
        self.price = Decimal(price)
        self.account.trade("BTCUSDT", (self.price, Decimal(100), _now_ms(), True))

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._signed_in])
        application.add_routes(
            [
                web.get("/connectors/{connector}/trading-rules", self.rules),
                web.post("/market-data/prices", self.prices),
                web.post("/portfolio/state", self.state),
                web.post("/trading/orders", self.place),
                web.post("/trading/orders/active", self.active),
                web.post("/trading/orders/search", self.search),
                web.post("/trading/trades", self.trades),
                web.post("/trading/{account}/{connector}/orders/{order}/cancel", self.cancel),
            ]
        )
        return application

    @web.middleware
    async def _signed_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if given is None or BasicAuth.decode(given) != BasicAuth(USER, PASSWORD):
            return web.json_response({"detail": "Incorrect username or password"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def rules(self, _: web.Request) -> web.Response:
        row = {"min_order_size": 0.00001, "max_order_size": 9000.0, "min_price_increment": 0.01}
        return web.json_response({PAIR: row | {"min_base_amount_increment": 0.00001, "min_notional_size": 5.0}})

    async def prices(self, request: web.Request) -> web.Response:
        return web.json_response({"connector": CONNECTOR, "prices": {PAIR: float(self.price)}, "timestamp": 0})

    async def state(self, _: web.Request) -> web.Response:
        rows = [
            {"token": asset, "units": float(one.free + one.locked), "available_units": float(one.free)}
            for asset, one in self.account.wallet.assets.items()
        ]
        return web.json_response({ACCOUNT: {CONNECTOR: rows}})

    async def place(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.fails:
            self.fails -= 1
            return web.json_response({"detail": "Unexpected error placing trade: timeout"}, status=500)
        price = Decimal(str(body.get("price") or 0))
        wanted = OrderRequest("BTCUSDT", body["trade_type"], body["order_type"], Decimal(str(body["amount"])), price)
        try:
            order = self.account.submit(wanted, RULES, self.price, _now_ms())
        except OrderRefused as refused:
            return web.json_response({"detail": refused.message}, status=400)
        if self.loses:
            self.loses -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(body | {"order_id": order.client_id, "status": "submitted"}, status=201)

    async def active(self, _: web.Request) -> web.Response:
        return _page([self._row(order) for order in self.account.open_orders()])

    async def search(self, _: web.Request) -> web.Response:
        return _page([self._row(order) for order in reversed(self.account.orders.values())])

    async def trades(self, _: web.Request) -> web.Response:
        return _page(
            [
                {
                    "trade_id": str(fill.trade_id), "order_id": fill.client_id, "trading_pair": PAIR,
                    "trade_type": fill.side, "amount": float(fill.quantity), "price": float(fill.price),
                    "fee_paid": float(fill.commission), "fee_currency": fill.commission_asset,
                    "timestamp": _iso(fill.time_ms),
                }
                for fill in self.account.executions
            ]
        )  # fmt: skip

    async def cancel(self, request: web.Request) -> web.Response:
        try:
            self.account.cancel("BTCUSDT", None, request.match_info["order"], _now_ms())
        except OrderRefused as refused:
            return web.json_response({"detail": refused.message}, status=404)
        return web.json_response({"message": "Order cancellation initiated"})

    def _row(self, order: BookedOrder) -> dict[str, Any]:
        request = order.request
        return {
            "order_id": order.client_id, "account_name": ACCOUNT, "connector_name": CONNECTOR, "trading_pair": PAIR,
            "trade_type": request.side, "order_type": request.type, "amount": float(request.quantity),
            "price": float(request.price) or None, "status": _WORDS.get(order.status, order.status),
            "filled_amount": float(order.filled), "created_at": _iso(order.time_ms),
        }  # fmt: skip


def _page(rows: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"data": rows, "pagination": {"limit": 200, "has_more": False, "next_cursor": None}})


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


@contextmanager
def running_stub() -> Iterator[HummingbotStub]:
    """The stub in a thread, on a free port."""
    stub, loop = HummingbotStub(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(stub.application())

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield stub
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
