"""The wire formats of the venues of the registry. Every venue needs its class here: the contract fails without."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import SecretStr

from crypto_pipeline.settings import Settings
from crypto_pipeline_tests.builders.scripted_others import Deal
from crypto_pipeline_tests.venues.contract.ccxt_wires import CCXT_WIRES
from crypto_pipeline_tests.venues.contract.market import DAY, Market, Pair, Row
from crypto_pipeline_tests.venues.contract.server import Wire, json_answer

#: Midnight in New York in winter, ms after that of UTC.
_MIDNIGHT = 5 * 3_600_000
_WIDTHS = {"m": 60_000, "h": 3_600_000, "d": DAY, "w": 7 * DAY}


def text(value: float) -> str:
    """A number as venues write it in text."""
    return f"{value:.8f}"


class BinanceWire(Wire):
    """Binance spot."""

    name, page, flat = "binance", 1000, True

    def settings(self, url: str) -> Settings:
        return Settings(binance_url=url, binance_archive_url=url)

    def symbol(self, base: str) -> str:
        return f"{base}USDT"

    def kind(self, request: web.Request) -> str:
        last = request.path.rsplit("/", 1)[-1]
        return {"klines": "bars", "aggTrades": "trades", "time": "time", "exchangeInfo": "listings"}.get(last, "other")

    def answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        match self.kind(request):
            case "time":
                return json_answer({"serverTime": self.market.now})
            case "listings":
                return self._info(query)
            case "bars":
                pair = self.asked(query["symbol"])
                if pair is None:
                    return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
                width = int(query["interval"][:-1]) * _WIDTHS[query["interval"][-1]]
                last = min(int(query.get("endTime", self.market.now)), self.market.now)
                rows = self.market.stated(pair, width, int(query.get("startTime", 0)), last, flat=True)
                most = int(query.get("limit", 500))
                rows = rows[:most] if "startTime" in query else rows[-most:]
                return json_answer([self._kline(row, width) for row in rows])
            case "trades":
                return self._trades(query)
        return web.Response(status=404)

    def _info(self, query: Any) -> web.Response:
        statuses = {"trading": "TRADING", "paused": "HALT", "delisted": "BREAK"}
        pairs = [pair for pair in self.market.pairs.values() if query.get("symbol", pair.symbol) == pair.symbol]
        if not pairs:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        symbols = [
            {"symbol": pair.symbol, "status": statuses[pair.status], "baseAsset": pair.base, "quoteAsset": "USDT"}
            for pair in pairs
        ]
        return json_answer({"serverTime": self.market.now, "rateLimits": [], "symbols": symbols})

    def _kline(self, row: Row, width: int) -> list[Any]:
        prices = [text(row.open), text(row.high), text(row.low), text(row.close)]
        amounts = [text(row.volume), row.time + width - 1, text(row.quote_volume), row.count, "0", "0", "0"]
        return [row.time, *prices, *amounts]

    def _trades(self, query: Any) -> web.Response:
        pair = self.asked(query["symbol"])
        if pair is None:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        rows, most = self.market.trades(pair), int(query.get("limit", 500))
        if "fromId" in query:
            rows = [deal for deal in rows if deal.number >= int(query["fromId"])][:most]
        elif "startTime" in query:
            rows = [deal for deal in rows if deal.us // 1000 >= int(query["startTime"])][:most]
        else:
            rows = [deal for deal in rows if deal.us // 1000 <= int(query.get("endTime", 1 << 60))][-most:]
        return json_answer([_agg_trade(deal) for deal in rows])


def _agg_trade(deal: Deal) -> dict[str, Any]:
    return {
        "a": deal.number, "p": deal.price, "q": deal.size, "f": deal.number, "l": deal.number, "T": deal.us // 1000,
        "m": not deal.taker_buy, "M": True,
    }  # fmt: skip


class ReplayWire(BinanceWire):
    """The replay exchange, which has Binance's interface."""

    name = "replay"
    port_setting = "replay_port"

    def settings(self, url: str) -> Settings:
        return Settings(host="127.0.0.1", **{self.port_setting: urlsplit(url).port})


class ReplayStandbyWire(ReplayWire):
    """The second replay exchange."""

    name, port_setting = "replay_standby", "replay_standby_port"


class CoinbaseWire(Wire):
    """Coinbase Exchange."""

    name, page = "coinbase", 300

    def settings(self, url: str) -> Settings:
        return Settings(coinbase_url=url)

    def symbol(self, base: str) -> str:
        return f"{base}-USD"

    def kind(self, request: web.Request) -> str:
        last = request.path.rsplit("/", 1)[-1]
        return {"candles": "bars", "trades": "trades", "time": "time", "products": "listings"}.get(last, "other")

    def answer(self, request: web.Request) -> web.StreamResponse:
        query, kind = request.query, self.kind(request)
        if kind == "time":
            return json_answer({"iso": "", "epoch": self.market.now / 1000})
        if kind == "listings":
            return json_answer([self._product(pair.symbol, pair.status) for pair in self.market.pairs.values()])
        pair = self.asked(request.path.split("/")[2])
        if pair is None:
            return json_answer({"message": "NotFound"}, 404)
        if kind == "bars":
            width = int(query["granularity"]) * 1000
            start, end = (round(datetime.fromisoformat(query[each]).timestamp() * 1000) for each in ("start", "end"))
            if (end - start) // width + 1 > 300:
                return json_answer({"message": "granularity too small for the requested time range."}, 400)
            # a row from before the start comes along, as it does
            rows = self.market.stated(pair, width, start - width, end, flat=False)[::-1]
            return json_answer([[row.time // 1000, row.low, row.high, row.open, row.close, row.volume] for row in rows])
        most, below = int(query.get("limit", 1000)), int(query.get("after", 1 << 60))
        trades = [deal for deal in self.market.trades(pair) if deal.number < below][-most:][::-1]
        headers = {"CB-AFTER": str(trades[-1].number)} if trades else {}
        return json_answer([self._trade(deal) for deal in trades], 200, **headers)

    def _product(self, name: str, status: str) -> dict[str, Any]:
        base, quote = name.split("-")
        said = {"trading": "online", "paused": "offline", "delisted": "delisted"}[status]
        return {"id": name, "base_currency": base, "quote_currency": quote, "status": said, "trading_disabled": False}

    def _trade(self, deal: Deal) -> dict[str, Any]:
        moment = f"{datetime.fromtimestamp(deal.us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{deal.us % 1_000_000:06d}Z"
        side = "sell" if deal.taker_buy else "buy"
        return {"trade_id": deal.number, "side": side, "size": deal.size, "price": deal.price, "time": moment}


class KrakenWire(Wire):
    """Kraken spot."""

    name, page, flat = "kraken", 720, True

    def settings(self, url: str) -> Settings:
        return Settings(kraken_url=url)

    def symbol(self, base: str) -> str:
        return f"{base}/USD"

    def client(self, url: str, budget: Any = None) -> Any:
        venue = super().client(url, budget)
        venue.pair_pause = 0.0  # type: ignore[attr-defined]
        return venue

    def kind(self, request: web.Request) -> str:
        last = request.path.rsplit("/", 1)[-1]
        kinds = {"OHLC": "bars", "Trades": "trades", "Time": "time", "SystemStatus": "time", "AssetPairs": "listings"}
        return kinds.get(last, "other")

    def answer(self, request: web.Request) -> web.StreamResponse:
        query, kind, last = request.query, self.kind(request), request.path.rsplit("/", 1)[-1]
        if last == "Time":
            return _result({"unixtime": self.market.now // 1000})
        if last == "SystemStatus":
            return _result({"status": "online"})
        if kind == "listings":
            statuses = {"trading": "online", "paused": "cancel_only", "delisted": "cancel_only"}
            return _result(
                {
                    pair.base: {"wsname": _kraken(pair.symbol), "status": statuses[pair.status], "pair_decimals": 2}
                    for pair in self.market.pairs.values()
                }
            )
        pair = next((each for each in self.market.pairs.values() if _joined(each.symbol) == query["pair"]), None)
        if pair is None:
            return json_answer({"error": ["EQuery:Unknown asset pair"]})
        if kind == "bars":
            width = int(query["interval"]) * 60_000
            rows = self.market.bars(pair, width, flat=True)[-721:]
            running = pair.status == "trading"  # the last row is of the bar that is not over
            newest = (rows[-1].time - (width if running else 0)) // 1000
            stated = [row for row in self.market.twist(rows) if row.time // 1000 > int(query.get("since", 0))]
            return _result({query["pair"]: [_ohlc(row) for row in stated], "last": newest})
        since, most = int(query.get("since", 0)), int(query.get("count", 1000))
        later = [deal for deal in self.market.trades(pair) if deal.us * 1000 > since]
        cut = later[:most]
        while len(cut) < len(later) and later[len(cut)].us == cut[-1].us:
            cut = later[: len(cut) + 1]
        trades = [
            [deal.price, deal.size, deal.us / 1e6, "b" if deal.taker_buy else "s", "m", "", deal.number] for deal in cut
        ]
        return _result({query["pair"]: trades, "last": str(cut[-1].us * 1000 if cut else since)})


def _kraken(name: str) -> str:
    return name.replace("BTC", "XBT")


def _joined(name: str) -> str:
    return _kraken(name).replace("/", "")


def _ohlc(row: Row) -> list[Any]:
    prices = [text(row.open), text(row.high), text(row.low), text(row.close)]
    return [row.time // 1000, *prices, text(row.close), text(row.volume), row.count]


def _result(result: Any) -> web.Response:
    return json_answer({"error": [], "result": result})


class MassiveCryptoWire(Wire):
    """Massive's crypto pairs; its pages lead from one to the next."""

    name, page = "massive_crypto", 400

    def settings(self, url: str) -> Settings:
        return Settings(massive_url=url, massive_key=SecretStr("a-key-of-this-test"), massive_feed="realtime")

    def symbol(self, base: str) -> str:
        return f"X:{base}USD"

    def kind(self, request: web.Request) -> str:
        for piece, kind in (
            ("/v2/aggs", "bars"), ("/v3/trades", "trades"), ("/v1/marketstatus", "time"),
            ("/v3/reference/tickers", "listings"),
        ):  # fmt: skip
            if request.path.startswith(piece):
                return kind
        return "other"

    def answer(self, request: web.Request) -> web.StreamResponse:
        parts, query = request.path.split("/"), request.query
        match self.kind(request):
            case "time":
                now = datetime.fromtimestamp(self.market.now // 1000, UTC)
                return json_answer({"market": "open", "serverTime": now.isoformat()})
            case "listings":
                return json_answer({"status": "OK", "results": self._tickers(query)})
            case "bars":
                return self._bars(request, parts)
            case "trades":
                return self._trades(parts[3], query)
        return json_answer({"status": "NOT_FOUND"}, 404)

    def _tickers(self, query: Any) -> list[dict[str, Any]]:
        active = query.get("active", "true") == "true"
        pairs = [pair for pair in self.market.pairs.values() if (pair.status != "delisted") is active]
        pairs = [pair for pair in pairs if query.get("ticker", pair.symbol) == pair.symbol]
        gone = {} if active else {"delisted_utc": "2026-01-04T06:00:00Z"}
        return [
            {"ticker": pair.symbol, "active": active, "currency_name": "usd", **self._pair(pair.base), **gone}
            for pair in pairs
        ]

    def _pair(self, base: str) -> dict[str, str]:
        return {"base_currency_symbol": base, "currency_symbol": "USD"}

    def _bars(self, request: web.Request, parts: list[str]) -> web.Response:
        pair, query = self.asked(parts[4]), request.query
        if pair is None:  # Massive says no more than that it has none
            return json_answer({"status": "OK", "resultsCount": 0})
        width = {"minute": 60_000, "day": DAY}[parts[7]]
        first, last = (_bound(parts[8], last=False), _bound(parts[9], last=True))
        if width == DAY:
            rows = [row for row in self._days(pair) if first <= row.time <= last]
        else:
            rows = self.market.stated(pair, width, first, min(last, self.market.now), flat=False)
        newest_first, most = query.get("sort") == "desc", min(int(query["limit"]), self.page)
        rows = rows[::-1] if newest_first else rows
        body: dict[str, Any] = {"status": "OK", "ticker": parts[4]}
        if rows[:most]:
            body["results"] = [
                {"t": row.time, "o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume}
                for row in rows[:most]
            ]
        if len(rows) > most and not newest_first:
            path = "/".join([*parts[:8], str(rows[most].time), parts[9]])
            body["next_url"] = f"{request.url.origin()}{path}?{request.query_string}"
        return json_answer(body)

    def _days(self, pair: Pair) -> list[Row]:
        """Days, which begin at midnight in New York."""
        days: dict[int, Row] = {}
        for row in self.market.bars(pair, 60_000, flat=False):
            begin = (row.time - _MIDNIGHT) // DAY * DAY + _MIDNIGHT
            day = days.get(begin, row._replace(time=begin, volume=0.0))
            days[begin] = day._replace(
                high=max(day.high, row.high), low=min(day.low, row.low), close=row.close, volume=day.volume + row.volume
            )
        return list(days.values())

    def _trades(self, ticker: str, query: Any) -> web.Response:
        pair = self.asked(ticker.replace("-", ""))
        first, end = (int(query[each]) // 1000 for each in ("timestamp.gte", "timestamp.lt"))
        trades = [deal for deal in self.market.trades(pair) if first <= deal.us < end] if pair else []
        rows = [
            {
                "id": str(deal.number), "participant_timestamp": deal.us * 1000, "price": float(deal.price),
                "size": float(deal.size), "conditions": self._conditions(deal), "exchange": 1,
            }
            for deal in trades
        ]  # fmt: skip
        return json_answer({"status": "OK", "results": rows})

    def _conditions(self, deal: Deal) -> list[int]:
        return [2 if deal.taker_buy else 1]


class MassiveWire(MassiveCryptoWire):
    """Massive's stocks."""

    name = "massive"

    def _conditions(self, deal: Deal) -> list[int]:
        return []

    def symbol(self, base: str) -> str:
        return base

    def _pair(self, base: str) -> dict[str, str]:
        return {}


def _bound(stated: str, *, last: bool) -> int:
    """Unix ms of a bound: ms, or a day of New York in winter."""
    if "-" not in stated:
        return int(stated)
    midnight = round(datetime.fromisoformat(f"{stated}T05:00:00+00:00").timestamp() * 1000)
    return midnight + DAY - 1 if last else midnight


#: By venue. A venue of the registry without a wire fails the contract.
WIRES: dict[str, type[Wire]] = {
    each.name: each
    for each in (
        ReplayWire,
        BinanceWire,
        CoinbaseWire,
        KrakenWire,
        MassiveWire,
        MassiveCryptoWire,
        ReplayStandbyWire,
        *CCXT_WIRES,
    )
}


def wire_of(name: str, market: Market) -> Wire:
    """The wire of a venue. Fails with what to do where there is none."""
    assert name in WIRES, f"the venue {name} has no wire: add its class to {__name__}.WIRES"
    return WIRES[name](market)
