"""The wire formats of five exchanges that are reached through ccxt, with the manners of each: order, bounds, pages."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, ClassVar

from aiohttp import web

from crypto_pipeline.settings import Settings
from crypto_pipeline_tests.builders.scripted_others import Deal
from crypto_pipeline_tests.venues.contract.market import DAY, MINUTE, Pair, Row
from crypto_pipeline_tests.venues.contract.server import Wire, json_answer


class CcxtWire(Wire):
    """What the wires of ccxt's exchanges share. Paths by kind are the last words of their addresses."""

    page = 300
    #: Begins of paths, by kind.
    paths: ClassVar[dict[str, str]]
    quote = "USDT"

    @property
    def exchange(self) -> str:
        """ccxt's name."""
        return self.name.removeprefix("ccxt_")

    def settings(self, url: str) -> Settings:
        return Settings(ccxt_urls={self.exchange: url})

    def symbol(self, base: str) -> str:
        return f"{base}/{self.quote}"

    def kind(self, request: web.Request) -> str:
        return next((kind for kind, path in self.paths.items() if request.path.startswith(path)), "other")

    def answer(self, request: web.Request) -> web.StreamResponse:
        answer = self.true_answer(request)
        # Without a time endpoint this header is the exchange's only clock.
        answer.headers["Date"] = format_datetime(datetime.fromtimestamp(self.market.now // 1000, UTC), usegmt=True)
        return answer

    @abstractmethod
    def true_answer(self, request: web.Request) -> web.StreamResponse:
        """The true answer but for its date."""

    def pair_of(self, name: str) -> Pair | None:
        """The pair that the exchange calls ``name``."""
        return next((pair for pair in self.market.pairs.values() if self.id_of(pair) == name), None)

    def id_of(self, pair: Pair) -> str:
        """The exchange's own name of a pair."""
        return f"{pair.base}-{self.quote}"

    def window(self, pair: Pair, width: int, first: int, last: int) -> list[Row]:
        """Rows with open times from ``first`` to ``last``, oldest first."""
        return self.market.stated(pair, width, first, min(last, self.market.now), flat=self.flat)


def numbers(row: Row, *names: str) -> list[str]:
    """Fields of a row in text."""
    return [f"{getattr(row, name):.8f}" for name in names]


class BitstampWire(CcxtWire):
    """Bitstamp: no time endpoint; trades of the last hour alone, with whole seconds."""

    name, quote, page, trade_step = "ccxt_bitstamp", "USD", 1000, 1000
    paths: ClassVar = {
        "bars": "/api/v2/ohlc/", "trades": "/api/v2/transactions/", "listings": "/api/v2/markets/",
    }  # fmt: skip

    def id_of(self, pair: Pair) -> str:
        return f"{pair.base}{self.quote}".lower()

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query, kind = request.query, self.kind(request)
        if kind == "listings":
            return json_answer([self._market(pair) for pair in self.market.pairs.values()])
        pair = self.pair_of(request.path.strip("/").split("/")[-1])
        if pair is None:
            return json_answer({"code": "Not Found", "errors": []}, 404)
        if kind == "bars":
            width, limit = int(query["step"]) * 1000, int(query["limit"])
            last = int(query["end"]) * 1000 if "end" in query else self.market.now
            first = int(query["start"]) * 1000 if "start" in query else last - limit * width
            rows = [
                {
                    "timestamp": str(row.time // 1000),
                    **{each: f"{getattr(row, each):.8f}" for each in ("open", "high", "low", "close", "volume")},
                }
                for row in self.window(pair, width, first, last)[:limit]
            ]
            return json_answer({"data": {"pair": f"{pair.base}/{self.quote}", "ohlc": rows}})
        since = self.market.now - {"minute": MINUTE, "hour": 60 * MINUTE, "day": DAY}[query.get("time", "hour")]
        trades = [deal for deal in self.market.trades(pair) if deal.us // 1000 >= since]
        return json_answer([self._trade(deal) for deal in trades[::-1]])

    def _market(self, pair: Pair) -> dict[str, Any]:
        return {
            "name": f"{pair.base}/{self.quote}", "market_symbol": self.id_of(pair), "base_currency": pair.base,
            "base_decimals": 8, "counter_currency": self.quote, "counter_decimals": 2, "minimum_order_value": "10",
            "trading": "Enabled" if pair.status == "trading" else "Disabled", "market_type": "SPOT",
            "instant_and_market_orders": "Enabled", "description": "", "isin": None, "payment_currency": None,
        }  # fmt: skip

    def _trade(self, deal: Deal) -> dict[str, Any]:
        return {
            "date": str(deal.us // 1_000_000), "tid": str(deal.number), "amount": deal.size, "price": deal.price,
            "type": "0" if deal.taker_buy else "1",
        }  # fmt: skip


class BitfinexWire(CcxtWire):
    """Bitfinex: lists of lists, pages from the start on, errors as lists with status 500."""

    name, quote, page = "ccxt_bitfinex", "USD", 1000
    paths: ClassVar = {"bars": "/v2/candles/", "trades": "/v2/trades/", "listings": "/v2/conf/"}
    widths: ClassVar = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": 60 * MINUTE, "1D": DAY}

    def id_of(self, pair: Pair) -> str:
        return f"t{pair.base}{self.quote}"

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query, kind, parts = request.query, self.kind(request), request.path.split("/")
        if kind == "listings":
            return json_answer(self._lists(parts[-1]))
        if kind == "bars":
            _, step, name = parts[3].split(":")
            pair = self.pair_of(name)
            if pair is None:
                return json_answer(["error", 10020, "symbol: invalid"], 500)
            first, last = int(query.get("start", 0)), int(query.get("end", self.market.now))
            rows = self.window(pair, self.widths[step], first, last)
            rows = rows if query.get("sort") == "1" else rows[::-1]
            return json_answer(
                [[row.time, row.open, row.close, row.high, row.low, row.volume] for row in rows[: int(query["limit"])]]
            )
        pair = self.pair_of(parts[3])
        if pair is None:
            return json_answer(["error", 10020, "symbol: invalid"], 500)
        since = int(query.get("start", 0))
        trades = [deal for deal in self.market.trades(pair) if deal.us // 1000 >= since]
        trades = trades if query.get("sort") == "1" else trades[::-1]
        return json_answer([self._trade(deal) for deal in trades[: int(query.get("limit", 120))]])

    def _lists(self, names: str) -> list[Any]:
        pairs = [pair for pair in self.market.pairs.values() if pair.status == "trading"]
        info = [
            [f"{pair.base}{self.quote}", [None, None, None, "0.0001", "1000.0", None, None, None, 0.2, 0.1, None, None]]
            for pair in pairs
        ]
        known: dict[str, list[Any]] = {
            "pub:list:pair:exchange": [f"{pair.base}{self.quote}" for pair in pairs],
            "pub:info:pair": info,
        }
        return [known.get(name, []) for name in names.split(",")]

    def _trade(self, deal: Deal) -> list[Any]:
        size = float(deal.size)
        return [deal.number, deal.us // 1000, size if deal.taker_buy else -size, float(deal.price)]


class KucoinWire(CcxtWire):
    """KuCoin: newest first, seconds, an end that is not included; only its newest hundred trades."""

    name, page = "ccxt_kucoin", 1000
    paths: ClassVar = {
        "bars": "/api/v1/market/candles", "trades": "/api/v1/market/histories", "listings": "/api/v2/symbols",
        "time": "/api/v1/timestamp",
    }  # fmt: skip
    widths: ClassVar = {"1min": MINUTE, "5min": 5 * MINUTE, "15min": 15 * MINUTE, "1hour": 60 * MINUTE, "1day": DAY}

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query, kind = request.query, self.kind(request)
        if kind == "time":
            return self._good(self.market.now)
        if kind == "listings":
            return self._good([self._market(pair) for pair in self.market.pairs.values()])
        if kind == "other":  # tickers, which ccxt reads with the markets
            return self._good({"ticker": []})
        pair = self.pair_of(query.get("symbol", ""))
        if pair is None:
            return json_answer({"code": "400100", "msg": "This pair is not provided at present"})
        if kind == "bars":
            width = self.widths[query["type"]]
            last = int(query["endAt"]) * 1000 - 1 if "endAt" in query else self.market.now
            first = int(query["startAt"]) * 1000 if "startAt" in query else last - 1500 * width
            rows = self.window(pair, width, first, last)[-1500:][::-1]
            fields = ("open", "close", "high", "low", "volume", "quote_volume")
            return self._good([[str(row.time // 1000), *numbers(row, *fields)] for row in rows])
        return self._good([self._trade(deal) for deal in self.market.trades(pair)[-100:][::-1]])

    def _good(self, data: Any) -> web.Response:
        return json_answer({"code": "200000", "data": data})

    def _market(self, pair: Pair) -> dict[str, Any]:
        return {
            "symbol": self.id_of(pair), "name": self.id_of(pair), "baseCurrency": pair.base,
            "quoteCurrency": self.quote, "feeCurrency": self.quote, "market": "USDS", "baseMinSize": "0.00001",
            "quoteMinSize": "0.1", "baseMaxSize": "10000", "quoteMaxSize": "99999999", "baseIncrement": "0.00000001",
            "quoteIncrement": "0.000001", "priceIncrement": "0.1", "priceLimitRate": "0.1", "minFunds": "0.1",
            "isMarginEnabled": False, "enableTrading": pair.status == "trading", "feeCategory": 1,
            "makerFeeCoefficient": "1.00", "takerFeeCoefficient": "1.00", "st": False,
        }  # fmt: skip

    def _trade(self, deal: Deal) -> dict[str, Any]:
        return {
            "sequence": str(deal.number), "tradeId": f"6{deal.number:023x}", "price": deal.price, "size": deal.size,
            "side": "buy" if deal.taker_buy else "sell", "time": deal.us * 1000,
        }  # fmt: skip


class OkxWire(CcxtWire):
    """OKX: newest first, bounds that are not included, a flag on the forming bar; errors with status 200."""

    name, page = "ccxt_okx", 300
    paths: ClassVar = {
        "bars": "/api/v5/market/", "listings": "/api/v5/public/instruments", "time": "/api/v5/public/time",
    }  # fmt: skip
    widths: ClassVar = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1H": 60 * MINUTE, "1Dutc": DAY}

    def kind(self, request: web.Request) -> str:
        return "trades" if request.path.endswith("trades") else super().kind(request)

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query, kind = request.query, self.kind(request)
        if kind == "time":
            return self._good([{"ts": str(self.market.now)}])
        if kind == "listings":
            return self._good([self._market(pair) for pair in self.market.pairs.values()])
        pair = self.pair_of(query.get("instId", ""))
        if pair is None:
            return json_answer({"code": "51001", "data": [], "msg": "Instrument ID does not exist"})
        if kind == "bars":
            width, limit = self.widths[query["bar"]], min(int(query.get("limit", 100)), 300)
            first = int(query["before"]) + 1 if "before" in query else 0
            last = int(query["after"]) - 1 if "after" in query else self.market.now
            rows = self.window(pair, width, first, last)[-limit:][::-1]
            fields = ("open", "high", "low", "close", "volume", "quote_volume", "quote_volume")
            over = self.market.now
            return self._good(
                [[str(row.time), *numbers(row, *fields), "1" if row.time + width <= over else "0"] for row in rows]
            )
        trades = self.market.trades(pair)[-min(int(query.get("limit", 100)), 500) :][::-1]
        return self._good([self._trade(pair, deal) for deal in trades])

    def _good(self, data: Any) -> web.Response:
        return json_answer({"code": "0", "msg": "", "data": data})

    def _market(self, pair: Pair) -> dict[str, Any]:
        return {
            "instType": "SPOT", "instId": self.id_of(pair), "baseCcy": pair.base, "quoteCcy": self.quote,
            "tickSz": "0.1", "lotSz": "0.00000001", "minSz": "0.00001", "settleCcy": "", "ctVal": "", "ctMult": "",
            "ctValCcy": "", "expTime": "", "lever": "10", "listTime": "1548133413000", "uly": "", "alias": "",
            "optType": "", "stk": "", "category": "1", "ctType": "", "maxLmtSz": "99999", "maxMktSz": "99999",
            "state": "live" if pair.status == "trading" else "suspend",
        }  # fmt: skip

    def _trade(self, pair: Pair, deal: Deal) -> dict[str, Any]:
        return {
            "instId": self.id_of(pair), "tradeId": str(deal.number), "px": deal.price, "sz": deal.size,
            "side": "buy" if deal.taker_buy else "sell", "ts": str(deal.us // 1000),
        }  # fmt: skip


class GateWire(CcxtWire):
    """Gate: both bounds included, quote volume before the prices, a flag on the forming bar."""

    name, page = "ccxt_gate", 1000
    #: Bars of each width that it gives; none older.
    kept = 10_000
    paths: ClassVar = {
        "bars": "/api/v4/spot/candlesticks", "trades": "/api/v4/spot/trades", "time": "/api/v4/spot/time",
        "listings": "/api/v4/spot/currency_pairs",
    }  # fmt: skip
    widths: ClassVar = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": 60 * MINUTE, "1d": DAY}

    def id_of(self, pair: Pair) -> str:
        return f"{pair.base}_{self.quote}"

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query, kind = request.query, self.kind(request)
        if kind == "time":
            return json_answer({"server_time": self.market.now})
        if kind == "listings":
            return json_answer([self._market(pair) for pair in self.market.pairs.values()])
        if kind == "other":
            return json_answer([])
        pair = self.pair_of(query.get("currency_pair", ""))
        if pair is None:
            said = {"label": "INVALID_CURRENCY_PAIR", "message": f"Invalid currency pair {query['currency_pair']}"}
            return json_answer(said, 400)
        if kind == "bars":
            width = self.widths[query["interval"]]
            last = int(query["to"]) * 1000 if "to" in query else self.market.now
            first = int(query["from"]) * 1000 if "from" in query else last - int(query.get("limit", 100)) * width
            if (last - first) // width > 1000:
                return json_answer({"label": "INVALID_PARAM_VALUE", "message": "too many data points"}, 400)
            if first < self.market.now - self.kept * width:
                said = f"Candlestick too long ago. Maximum {self.kept} points ago are allowed"
                return json_answer({"label": "INVALID_PARAM_VALUE", "message": said}, 400)
            fields = ("quote_volume", "close", "high", "low", "open", "volume")
            return json_answer(
                [
                    [str(row.time // 1000), *numbers(row, *fields), str(row.time + width <= self.market.now).lower()]
                    for row in self.window(pair, width, first, last)
                ]
            )
        first, last = int(query.get("from", 0)) * 1000, int(query.get("to", 1 << 40)) * 1000
        trades = [deal for deal in self.market.trades(pair) if first <= deal.us // 1000 <= last]
        return json_answer([self._trade(pair, deal) for deal in trades[-int(query.get("limit", 100)) :][::-1]])

    def _market(self, pair: Pair) -> dict[str, Any]:
        return {
            "id": self.id_of(pair), "base": pair.base, "quote": self.quote, "fee": "0.2", "min_base_amount": "0.001",
            "min_quote_amount": "1.0", "amount_precision": 8, "precision": 2, "sell_start": 0, "buy_start": 0,
            "trade_status": "tradable" if pair.status == "trading" else "untradable",
        }  # fmt: skip

    def _trade(self, pair: Pair, deal: Deal) -> dict[str, Any]:
        return {
            "id": str(deal.number), "create_time": str(deal.us // 1_000_000), "create_time_ms": f"{deal.us / 1000:.3f}",
            "side": "buy" if deal.taker_buy else "sell", "amount": deal.size, "price": deal.price,
            "currency_pair": self.id_of(pair),
        }  # fmt: skip


CCXT_WIRES: tuple[type[CcxtWire], ...] = (BitstampWire, BitfinexWire, KucoinWire, OkxWire, GateWire)
