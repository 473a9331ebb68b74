"""The filters that an order must pass before the exchange takes it, with Binance's codes and texts."""

from __future__ import annotations

import re
from decimal import Decimal

from crypto_pipeline.replay.market.symbols import SymbolInfo
from crypto_pipeline.replay.orders.types import LIMITED, TRIGGERED, ZERO, OrderRefused, OrderRequest, OrderRules

_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_MOST = Decimal(9_000_000_000)
IMMEDIATELY = "Stop price would trigger immediately."


def rules_of(info: SymbolInfo) -> OrderRules:
    """The rules of a symbol as ``exchangeInfo`` states them."""
    return OrderRules(
        info.symbol,
        info.base,
        info.quote,
        Decimal(1).scaleb(-info.tick_decimals),
        Decimal(1).scaleb(-info.step_decimals),
    )


def check_request(request: OrderRequest, rules: OrderRules, last: Decimal) -> None:
    """Raise OrderRefused where a filter or a rule of the order's type is violated; ``last``: the last traded price."""
    if request.client_id and not _CLIENT_ID.fullmatch(request.client_id):
        raise OrderRefused(
            -1100,
            "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[\\.A-Z\\:/a-z0-9_-]{1,36}$'.",
        )
    if request.quantity < rules.step or request.quantity > _MOST or request.quantity % rules.step:
        raise OrderRefused(-1013, "Filter failure: LOT_SIZE")
    for price, needed in ((request.price, request.type in LIMITED), (request.stop_price, request.type in TRIGGERED)):
        if needed and (price < rules.tick or price % rules.tick):
            raise OrderRefused(-1013, "Filter failure: PRICE_FILTER")
    worth = (request.price or request.stop_price or last) * request.quantity
    if worth < rules.min_notional:
        raise OrderRefused(-1013, "Filter failure: NOTIONAL")
    if request.type == "LIMIT_MAKER" and crosses(request, last):
        raise OrderRefused(-2010, "Order would immediately match and take.")
    if request.type in TRIGGERED and reached(request, last):
        raise OrderRefused(-2010, IMMEDIATELY)


def crosses(request: OrderRequest, price: Decimal) -> bool:
    """Whether a limit order would be filled at once at this price."""
    return price <= request.price if request.side == "BUY" else price >= request.price


def reached(request: OrderRequest, price: Decimal) -> bool:
    """Whether this price triggers an order: a stop by a price against it, a take profit by one in its favour."""
    if request.stop_price == ZERO:
        return True
    against = request.type in ("STOP_LOSS", "STOP_LOSS_LIMIT")
    falling = (request.side == "SELL") == against
    return price <= request.stop_price if falling else price >= request.stop_price
