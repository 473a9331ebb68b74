"""A tiny Coinbase and a tiny Kraken: both answer from one list of trades, with the manners of the real ones."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from crypto_pipeline.market.bars import TRADE_SCHEMA
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue

NOW = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


@dataclass(frozen=True)
class Deal:
    number: int
    us: int
    price: str
    size: str
    taker_buy: bool


def deals(count: int, *, seed: int = 1, step_ms: int = 40_000, newest_ms: int = NOW_MS - 5_000) -> list[Deal]:
    """Trades with ids from 1, the newest at ``newest_ms``, some in the same microsecond."""
    draw = random.Random(seed)
    us, made, price = newest_ms * 1000, [], 50_000
    for number in range(count, 0, -1):
        price = max(1000, price + draw.randint(-30, 30))
        made.append(
            Deal(number, us, f"{price / 100:.2f}", f"{draw.randint(1, 10**6) / 10**6:.8f}", draw.random() < 0.5)
        )
        if draw.random() > 0.2:
            us -= draw.randint(1, 2 * step_ms * 1000)
    return made[::-1]


def minute_bars(trades: list[Deal], width: int = 60_000) -> dict[int, list[Any]]:
    """open ms → [open, high, low, close, volume, count] as numbers."""
    bars: dict[int, list[Any]] = {}
    for deal in trades:
        price, size = float(deal.price), float(deal.size)
        bar = bars.setdefault(deal.us // 1000 // width * width, [price, price, price, price, 0.0, 0])
        bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
        bar[4] = round(bar[4] + size, 8)
        bar[5] += 1
    return bars


def assert_all_trades(found: TradesAnswer, trades: list[Deal], start: datetime, end: datetime) -> None:
    """The answer has every trade of ``[start, end)`` and names those on either side."""
    low, high = round(start.timestamp() * 1e6), round(end.timestamp() * 1e6)
    inside = [deal for deal in trades if low <= deal.us < high]
    assert dict(found.trades.schema) == TRADE_SCHEMA
    assert found.trades["trade_id"].to_list() == [deal.number for deal in inside]
    assert found.trades["taker_side"].to_list() == ["buy" if deal.taker_buy else "sell" for deal in inside]
    assert found.trades["time"].dt.epoch("ms").to_list() == [deal.us // 1000 for deal in inside]
    assert found.id_before == max((deal.number for deal in trades if deal.us < low), default=None)
    assert found.id_after == min((deal.number for deal in trades if deal.us >= high), default=None)


class _DealsVenue(ScriptedVenue):
    def __init__(self, trades: list[Deal]) -> None:
        super().__init__()
        self.deals = trades


class ScriptedCoinbase(_DealsVenue):
    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "User-Agent" not in request.headers:
            return _json({"message": "User-Agent header is required."}, 400)
        match request.path.split("/")[1:]:
            case ["time"]:
                return _json({"iso": NOW.isoformat(), "epoch": NOW_MS / 1000})
            case ["products"]:
                return _json(
                    [_product("BTC-USD"), _product("OLD-USD", status="delisted"), _product("HALT-EUR", off=True)]
                )
            case ["products", "BTC-USD", "candles"]:
                return self._candles(query)
            case ["products", "BTC-USD", "trades"]:
                return self._trades(query)
        return _json({"message": "NotFound"}, 404)

    def _candles(self, query: Any) -> web.Response:
        width = int(query["granularity"]) * 1000
        bars = minute_bars(self.deals, width)
        newest = NOW_MS // width * width
        start, end = newest - 299 * width, newest
        if "start" in query and "end" in query:
            start, end = (_iso_ms(query[name]) for name in ("start", "end"))
        if (end - start) // width + 1 > 300:
            return _json({"message": "granularity too small for the requested time range."}, 400)
        # A row from before the start comes along, as it does.
        times = [at for at in sorted(bars, reverse=True) if start - 2 * width <= at <= end]
        return _json([[at // 1000, bars[at][2], bars[at][1], bars[at][0], bars[at][3], bars[at][4]] for at in times])

    def _trades(self, query: Any) -> web.Response:
        limit, below = int(query.get("limit", 1000)), int(query.get("after", 1 << 60))
        rows = [deal for deal in self.deals if deal.number < below][-limit:][::-1]
        body = [
            {
                "trade_id": deal.number, "side": "sell" if deal.taker_buy else "buy", "size": deal.size,
                "price": deal.price, "time": f"{datetime.fromtimestamp(deal.us / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            }
            for deal in rows
        ]  # fmt: skip
        headers = {"CB-BEFORE": str(rows[0].number), "CB-AFTER": str(rows[-1].number)} if rows else {}
        return _json(body, headers=headers)


class ScriptedKraken(_DealsVenue):
    def true_answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        name = request.path.removeprefix("/0/public/")
        if name in ("OHLC", "Trades") and query.get("pair") != "XBTUSD":
            return _json({"error": ["EQuery:Unknown asset pair"]})
        match name:
            case "Time":
                return _result({"unixtime": NOW_MS // 1000, "rfc1123": "…"})
            case "AssetPairs":
                known = {"wsname": "XBT/USD", "pair_decimals": 1, "lot_decimals": 8, "tick_size": "0.1", "new": 1}
                other = {"wsname": "XDG/EUR", "pair_decimals": 7, "lot_decimals": 8, "status": "cancel_only"}
                return _result({"XXBTZUSD": known, "XDGEUR": other, "XBTUSD.d": {"altname": "XBTUSD.d"}})
            case "SystemStatus":
                return _result({"status": "online", "timestamp": "2026-01-05T12:00:30Z"})
            case "OHLC":
                return self._ohlc(query)
            case "Trades":
                return self._trades(query)
        return web.Response(status=404)

    def _ohlc(self, query: Any) -> web.Response:
        width = int(query["interval"]) * 60_000
        bars = minute_bars(self.deals, width)
        running = NOW_MS // width * width
        rows, close = [], 0.0
        for at in range(min(bars), running + width, width):
            bar = bars.get(at)
            close = bar[3] if bar else close
            o, h, low, c, volume, count = bar or [close] * 4 + [0.0, 0]
            rows.append(
                [at // 1000, str(o), str(h), str(low), str(c), str(o if count else 0.0), f"{volume:.8f}", count]
            )
        rows = [row for row in rows[-721:] if row[0] > int(query.get("since", 0))]
        return _result({"XXBTZUSD": rows, "last": running // 1000 - width // 1000})

    def _trades(self, query: Any) -> web.Response:
        since, count = int(query.get("since", 0)), int(query.get("count", 1000))
        rows = [deal for deal in self.deals if deal.us * 1000 > since]
        # The cursor is a time: a page never ends amid trades that share one, or they would be lost.
        cut = rows[:count]
        while len(cut) < len(rows) and rows[len(cut)].us == cut[-1].us:
            cut = rows[: len(cut) + 1]
        body = [
            [deal.price, deal.size, deal.us / 1e6, "b" if deal.taker_buy else "s", "m", "", deal.number] for deal in cut
        ]
        return _result({"XXBTZUSD": body, "last": str(cut[-1].us * 1000 if cut else since)})


def _product(name: str, status: str = "online", *, off: bool = False) -> dict[str, Any]:
    base, quote = name.split("-")
    return {
        "id": name, "base_currency": base, "quote_currency": quote, "quote_increment": "0.01",
        "base_increment": "0.00000001", "status": status, "trading_disabled": off, "something_new": [1],
    }  # fmt: skip


def _iso_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(document).encode(), content_type="application/json", headers=headers
    )


def _result(result: Any) -> web.Response:
    return _json({"error": [], "result": result})
