"""Orders, fills and balances in Binance's words, for answers and for the user data stream."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.orders.types import TRIGGERED, BookedOrder, Execution, OrderEvent, OrderPair


def number(value: Decimal) -> str:
    """A decimal with eight places."""
    return f"{value:.8f}"


def order_row(order: BookedOrder) -> dict[str, Any]:
    """An order as it is asked for."""
    request = order.request
    return {
        "symbol": request.symbol,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        "price": number(request.price),
        "origQty": number(request.quantity),
        "executedQty": number(order.filled),
        "cummulativeQuoteQty": number(order.filled_quote),
        "status": order.status,
        "timeInForce": request.time_in_force,
        "type": request.type,
        "side": request.side,
        "stopPrice": number(request.stop_price),
        "icebergQty": "0.00000000",
        "time": order.time_ms,
        "updateTime": order.update_ms,
        "isWorking": order.triggered,
        "workingTime": order.time_ms if order.triggered else -1,
        "origQuoteOrderQty": "0.00000000",
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def new_order(order: BookedOrder, fills: list[Execution]) -> dict[str, Any]:
    """The full answer to a new order."""
    row = order_row(order) | {"transactTime": order.update_ms}
    row["fills"] = [
        {
            "price": number(fill.price),
            "qty": number(fill.quantity),
            "commission": number(fill.commission),
            "commissionAsset": fill.commission_asset,
            "tradeId": fill.trade_id,
        }
        for fill in fills
    ]
    return row


def pair_row(pair: OrderPair, account: TradingAccount) -> dict[str, Any]:
    """A list of two orders."""
    orders = [account.orders[one] for one in pair.orders]
    return {
        "orderListId": pair.list_id,
        "contingencyType": "OCO",
        "listStatusType": "ALL_DONE" if pair.is_over else "EXEC_STARTED",
        "listOrderStatus": "ALL_DONE" if pair.is_over else "EXECUTING",
        "listClientOrderId": pair.client_id,
        "transactionTime": pair.time_ms,
        "symbol": pair.symbol,
        "orders": [{"symbol": pair.symbol, "orderId": one.order_id, "clientOrderId": one.client_id} for one in orders],
        "orderReports": [order_row(one) | {"transactTime": one.update_ms} for one in orders],
    }


def fill_row(fill: Execution, list_id: int) -> dict[str, Any]:
    """A fill as ``myTrades`` has it."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": list_id,
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "quoteQty": number(fill.quote),
        "commission": number(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": fill.time_ms,
        "isBuyer": fill.side == "BUY",
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def account_row(account: TradingAccount, now_ms: int) -> dict[str, Any]:
    """The account with its balances."""
    return {
        **{"makerCommission": 26, "takerCommission": 26, "buyerCommission": 0, "sellerCommission": 0},
        **{"canTrade": True, "canWithdraw": False, "canDeposit": False, "accountType": "SPOT", "updateTime": now_ms},
        "balances": [
            {"asset": asset, "free": number(one.free), "locked": number(one.locked)}
            for asset, one in account.wallet.assets.items()
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def report(event: OrderEvent) -> dict[str, Any]:
    """An ``executionReport`` of the user data stream."""
    order, fill = event.order, event.execution
    request = order.request
    return {
        **{"e": "executionReport", "E": event.time_ms, "s": request.symbol, "c": order.client_id, "S": request.side},
        **{"o": request.type, "f": request.time_in_force, "q": number(request.quantity), "p": number(request.price)},
        **{"P": number(request.stop_price), "F": "0.00000000", "g": order.list_id, "C": "", "x": event.kind},
        **{"X": order.status, "r": "NONE", "i": order.order_id, "l": number(fill.quantity if fill else Decimal(0))},
        **{"z": number(order.filled), "L": number(fill.price if fill else Decimal(0))},
        **{"n": number(fill.commission if fill else Decimal(0)), "N": fill.commission_asset if fill else None},
        **{"T": event.time_ms, "t": fill.trade_id if fill else -1, "I": order.order_id * 2, "w": order.triggered},
        **{"m": fill.is_maker if fill else False, "M": False, "O": order.time_ms, "Z": number(order.filled_quote)},
        **{"Y": number(fill.quote if fill else Decimal(0)), "Q": "0.00000000", "V": "EXPIRE_MAKER"},
        **({"W": order.time_ms} if request.type not in TRIGGERED or order.triggered else {}),
    }
