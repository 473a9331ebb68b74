"""Binance's public REST endpoints over a feed."""

from __future__ import annotations

import json
from typing import Any, get_args

from aiohttp import web

from crypto_pipeline.replay.faults.book import Call, FaultBook
from crypto_pipeline.replay.faults.orders import OrderClockSkew
from crypto_pipeline.replay.faults.script import ShortPages
from crypto_pipeline.replay.market.symbols import SymbolInfo
from crypto_pipeline.replay.orders.types import OrderType
from crypto_pipeline.replay.server import parameters
from crypto_pipeline.replay.server.feed import Feed
from crypto_pipeline.replay.server.limits import WeightLimits
from crypto_pipeline.replay.server.parameters import Refused

JSON_TYPE = {"Content-Type": "application/json;charset=UTF-8"}


def json_answer(data: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer with Binance's headers."""
    body = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, headers=JSON_TYPE | (headers or {}))


class RestHandlers:
    """The handlers of the endpoints. The application applies weights, faults and errors."""

    def __init__(self, feed: Feed, limits: WeightLimits, faults: FaultBook) -> None:
        self.feed, self.limits, self.faults = feed, limits, faults
        self.market, self.clock = feed.market, feed.clock

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        return [
            web.get("/api/v3/ping", self.ping),
            web.get("/api/v3/time", self.time),
            web.get("/api/v3/exchangeInfo", self.exchange_info),
            web.get("/api/v3/klines", self.klines),
            web.get("/api/v3/aggTrades", self.aggregate_trades),
        ]

    async def ping(self, _: web.Request) -> web.Response:
        """An empty object."""
        return json_answer({})

    async def time(self, _: web.Request) -> web.Response:
        """Venue time in ms."""
        skew = self.faults.strikes(OrderClockSkew, Call("time"))
        return json_answer({"serverTime": self.clock.now_ms() + (skew.milliseconds if skew is not None else 0)})

    async def klines(self, request: web.Request) -> web.Response:
        """Bars, oldest first, the forming one last."""
        query = request.query
        info = parameters.symbol(parameters.mandatory(query, "symbol"), self.market, self.clock.now_ms())
        timeframe = parameters.interval(query)
        start, end = parameters.time_bounds(query)
        if query.get("timeZone", "0") not in ("0", "00:00", "+00:00", "-00:00"):
            raise Refused(-1130, "Data sent for parameter 'timeZone' is not valid.")
        call = Call("klines", info.symbol, timeframe)
        limit = self._limit(parameters.row_limit(query), call)
        pieces = await self.feed.bars(info.symbol, timeframe, start, end, limit, self.faults.rows(call))
        return json_answer(b"[" + b",".join(pieces) + b"]")

    async def aggregate_trades(self, request: web.Request) -> web.Response:
        """Aggregate trades by id or by time."""
        query = request.query
        info = parameters.symbol(parameters.mandatory(query, "symbol"), self.market, self.clock.now_ms())
        start, end = parameters.time_bounds(query)
        from_id = parameters.whole_number(query, "fromId")
        call = Call("aggTrades", info.symbol)
        limit, rows = self._limit(parameters.row_limit(query), call), self.faults.rows(call)
        if from_id is None:
            pieces = await self.feed.trades(info.symbol, start, end, limit, rows)
        elif start is not None or end is not None:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        else:
            pieces = await self.feed.trades_from(info.symbol, from_id, limit, rows)
        return json_answer(b"[" + b",".join(pieces) + b"]")

    def _limit(self, limit: int, call: Call) -> int:
        short = self.faults.strikes(ShortPages, call)
        return limit if short is None else min(limit, short.rows)

    async def exchange_info(self, request: web.Request) -> web.Response:
        """Rules of all symbols, one, or several; a call with an unknown symbol fails."""
        now = self.clock.now_ms()
        chosen = [info for info in self._chosen(request) if info.listed_ms <= now]
        status = request.query.get("symbolStatus")
        listed = [_symbol_rules(info, info.status(now)) for info in chosen if status in (None, info.status(now))]
        limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.limits.stated},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {
                "rateLimitType": "RAW_REQUESTS",
                "interval": "MINUTE",
                "intervalNum": 5,
                "limit": 61_000 if self.limits.limit else 50_000_000,
            },
        ]
        return json_answer(
            {"timezone": "UTC", "serverTime": now, "rateLimits": limits, "exchangeFilters": [], "symbols": listed}
        )

    def _chosen(self, request: web.Request) -> list[SymbolInfo]:
        one, several = request.query.get("symbol"), request.query.get("symbols")
        if one is not None and several is not None:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        if one is None and several is None:
            return list(self.market.symbols())
        names = [one] if one is not None else _symbol_list(several or "")
        return [parameters.symbol(name, self.market, self.clock.now_ms()) for name in names]


def _symbol_list(text: str) -> list[str]:
    legal = r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$'
    refused = Refused(-1100, f"Illegal characters found in parameter 'symbols'; legal range is '{legal}'.")
    try:
        names = json.loads(text)
    except ValueError:
        raise refused from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise refused
    return names


def _symbol_rules(info: SymbolInfo, status: str) -> dict[str, Any]:
    tick, step = f"{10**-info.tick_decimals:.8f}", f"{10**-info.step_decimals:.8f}"
    return {
        "symbol": info.symbol,
        "status": status,
        "baseAsset": info.base,
        "baseAssetPrecision": 8,
        "quoteAsset": info.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": list(get_args(OrderType)),
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000000.00000000", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "avgPriceMins": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
