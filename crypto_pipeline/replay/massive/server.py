"""The HTTP application: Massive's endpoints over a tape, with keys, plans, pages and a limit of requests a minute."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from aiohttp import web

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.streams import STREAM_PATHS, MassiveStreams
from crypto_pipeline.replay.massive.tape import BARS, Stock, StockTape, held_tickers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: First parts of paths that belong to Massive and not to the exchange.
PREFIXES = ("/v1/", "/v2/", "/v3/", "/vX/", *STREAM_PATHS)

NEW_YORK = ZoneInfo("America/New_York")
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


_TOO_MANY = "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."


_PLAN = web.RequestKey("plan", Plan)


class Refusal(Exception):  # noqa: N818  (an answer)
    """An answer with another status than 200."""

    def __init__(self, status: int, text: str, field: str = "error") -> None:
        super().__init__(text)
        self.status, self.body = status, {"status": "ERROR" if field == "error" else "NOT_AUTHORIZED", field: text}


class MassiveServer:
    """A server over ``tape``, made when it is first asked for, for ``plans`` by key (None: every key, without limits).

    ``requests`` are the newest addresses that were asked for.
    """

    def __init__(
        self,
        tape: StockTape | Callable[[], StockTape],
        clock: VirtualClock,
        plans: Mapping[str, Plan] | None,
        *,
        address: str = "",
        pairs: StockTape | Callable[[], StockTape] | None = None,
    ) -> None:
        self._tape, self.clock, self.address = tape, clock, address
        self._pairs = pairs
        self.plans = None if plans is None else dict(plans)
        self.requests: deque[str] = deque(maxlen=10_000)
        self._used: dict[tuple[str, int], int] = {}
        self.streams = MassiveStreams(self.clock, self.tape_of, self.plan_of)

    def plan_of(self, key: str) -> Plan | None:
        """The plan of a key; None for an unknown one."""
        return Plan() if self.plans is None else self.plans.get(key)

    @cached_property
    def tape(self) -> StockTape:
        """The stock market."""
        return self._tape() if callable(self._tape) else self._tape

    @cached_property
    def pairs(self) -> StockTape:
        """The crypto pairs; the stock market where there are none."""
        found = self._pairs() if callable(self._pairs) else self._pairs
        return self.tape if found is None else found

    def tape_of(self, market: str) -> StockTape:
        """The tape of ``stocks`` or ``crypto``."""
        return self.pairs if market == "crypto" else self.tape

    def application(self) -> web.Application:
        """A fresh application over this server."""
        application = web.Application()
        application.add_routes(self.routes())
        return application

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to an application."""
        aggregates = "/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{first}/{last}"
        handlers = {
            "/v1/marketstatus/now": self._status,
            aggregates: self._aggregates,
            "/v3/trades/{ticker}": self._trades,
            "/v3/reference/tickers": self._tickers,
            "/v3/reference/splits": self._splits,
            "/v3/reference/dividends": self._dividends,
            "/vX/reference/tickers/{ticker}/events": self._events,
        }
        routes = [web.get(path, self._answering(handler)) for path, handler in handlers.items()]
        return [*routes, *self.streams.routes()]

    def now(self) -> datetime:
        """The server's time, New York."""
        return _moment(self.clock.now_ms())

    def _answering(self, handler: Callable[[web.Request], web.Response]) -> Handler:
        """The handler in a thread, so that a large answer delays no stream, behind keys and limits."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self.requests.append(request.path_qs)
            try:
                self._admit(request)
                return await asyncio.to_thread(handler, request)
            except Refusal as refusal:
                return web.json_response({**refusal.body, "request_id": "replay"}, status=refusal.status)

        return answer

    def _admit(self, request: web.Request) -> None:
        stated = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("apiKey", "")
        if not stated:
            raise Refusal(401, "API Key was not provided")
        plan = self.plan_of(stated)
        if plan is None:
            raise Refusal(401, "Unknown API Key")
        if plan.expired:
            raise Refusal(403, "Your plan has expired. Please renew it.", "message")
        minute = self.clock.now_ms() // 60_000
        used = self._used[stated, minute] = self._used.get((stated, minute), 0) + 1
        if plan.requests and used > plan.requests:
            raise Refusal(429, _TOO_MANY)
        request[_PLAN] = plan

    def _status(self, request: web.Request) -> web.Response:
        return _json({"market": "open", "serverTime": self.now().isoformat(timespec="seconds")})

    # Bars

    def _aggregates(self, request: web.Request) -> web.Response:
        parts, query, plan = request.match_info, request.query, request[_PLAN]
        if parts["multiplier"] != "1" or parts["timespan"] not in ("minute", "day"):
            raise Refusal(400, f"unsupported range {parts['multiplier']}/{parts['timespan']}")
        if query.get("adjusted", "true") != "false":
            raise Refusal(400, "this replay has bars as they were traded alone: adjusted=false")
        low, high = _bound(parts["first"], last=False), _bound(parts["last"], last=True)
        self._require_history(plan, _moment(high).date())
        limit = int(query.get("limit", "5000"))
        until = self.clock.now_ms() - plan.delay // _MS
        oldest_first = query.get("sort", "asc") == "asc"
        ordered = self._bars(parts["ticker"], parts["timespan"], low, min(high, until), until, limit, oldest_first)
        body: dict[str, Any] = {"ticker": parts["ticker"], "adjusted": False, "status": _word(plan), "resultsCount": 0}
        if ordered.height:
            rows = [_stated(row) for row in ordered.head(limit).to_dicts()]
            body |= {"results": rows, "resultsCount": len(rows), "queryCount": len(rows)}
        if ordered.height > limit:
            following = ordered["t"][limit]
            sort = query.get("sort", "asc")
            rest = f"{following}/{parts['last']}" if sort == "asc" else f"{parts['first']}/{following}"
            path = f"/v2/aggs/ticker/{parts['ticker']}/range/1/{parts['timespan']}/{rest}"
            body["next_url"] = f"{self._base(request)}{path}?adjusted=false&sort={sort}&limit={limit}"
        return _json(body)

    def _bars(
        self, ticker: str, timespan: str, low: int, high: int, until: int, limit: int, oldest_first: bool
    ) -> pl.DataFrame:
        """Bars of ``[low, high]`` (Unix ms) that are over at ``until``, more than ``limit`` of them if there are more.

        Days are read in parts, each twice as long as the one before, until there are enough.
        """
        daily = timespan == "day"
        over = pl.col("t") < until if daily else pl.col("t") + 60_000 <= until
        tape = self._tape_with(ticker)
        begins = [stock.first_day for stock in tape.stocks() if held_tickers(stock, ticker)]
        first, last = _moment(low).date() - _DAY, _moment(high).date() + _DAY
        first = max(first, min(begins) - _DAY) if begins else last + _DAY
        parts, count, days = [pl.DataFrame(schema=BARS)], 0, 8
        while first <= last and count <= limit:
            step = timedelta(days=days - 1)
            begin, end = (first, min(first + step, last)) if oldest_first else (max(last - step, first), last)
            read = self._of_ticker(ticker, begin, end, tape.days if daily else tape.minutes)
            read = read.filter(pl.col("t").is_between(low, high) & over)
            parts.append(read if oldest_first else read.reverse())
            first, last = (end + _DAY, last) if oldest_first else (first, begin - _DAY)
            count, days = count + read.height, 2 * days
        return pl.concat(parts)

    def _of_ticker(
        self, ticker: str, first: date, last: date, read: Callable[[str, date, date], pl.DataFrame]
    ) -> pl.DataFrame:
        """What ``read`` has of the days on which a stock had this ticker."""
        parts = []
        tape = self._tape_with(ticker)
        for stock in tape.stocks():
            for since, until in held_tickers(stock, ticker):
                begin, end = max(first, since), min(last, until)
                if begin <= end:
                    parts.append(read(stock.ticker, begin, end))
        return pl.concat(parts) if parts else read(tape.stocks()[0].ticker, first, first).clear()

    def _tape_with(self, ticker: str) -> StockTape:
        return self.tape_of("crypto" if ticker.startswith("X:") else "stocks")

    def _require_history(self, plan: Plan, last: date) -> None:
        if last < self.now().date() - timedelta(days=plan.days):
            raise Refusal(403, "Your plan doesn't include this data timeframe. Please upgrade your plan.", "message")

    # Trades

    def _trades(self, request: web.Request) -> web.Response:
        query, ticker, plan = request.query, request.match_info["ticker"], request[_PLAN]
        if "cursor" in query:
            state = json.loads(base64.urlsafe_b64decode(query["cursor"]))
        else:
            state = {"low": int(query["timestamp.gte"]), "high": int(query["timestamp.lt"]), "skip": 0}
            state["limit"] = int(query.get("limit", "1000"))
        low, high = state["low"], state["high"]
        days = [_moment(ns // 1_000_000).date() for ns in (low, high)]
        until = (self.clock.now_ms() - plan.delay // _MS) * 1_000_000
        # addresses of trades of pairs have a dash
        tape, of_bars = self._tape_with(ticker), ticker.replace("-", "") if ticker.startswith("X:") else ticker
        trades = self._of_ticker(of_bars, days[0] - _DAY, days[1] + _DAY, tape.trades)
        trades = trades.filter((pl.col("ns") >= low) & (pl.col("ns") < min(high, until)))
        page = trades.slice(state["skip"], state["limit"])
        rows = [
            {
                "id": str(state["skip"] + place), "participant_timestamp": row["ns"], "sip_timestamp": row["ns"],
                "price": row["price"], "size": row["size"], "conditions": row["conditions"],
                "exchange": row["exchange"], "sequence_number": state["skip"] + place,
            }
            for place, row in enumerate(page.to_dicts(), start=1)
        ]  # fmt: skip
        body: dict[str, Any] = {"status": _word(plan), "results": rows}
        if trades.height > state["skip"] + state["limit"]:
            following = json.dumps({**state, "skip": state["skip"] + state["limit"]})
            cursor = base64.urlsafe_b64encode(following.encode()).decode()
            body["next_url"] = f"{self._base(request)}/v3/trades/{ticker}?cursor={cursor}"
        return _json(body)

    # Reference

    def _tickers(self, request: web.Request) -> web.Response:
        query = request.query
        active = query.get("active", "true") == "true"
        today = self.now().date()
        rows = []
        market = query.get("market", "stocks")
        for stock in self.tape_of(market).stocks():
            gone = stock.delisted is not None and stock.delisted <= today
            ticker = stock.ticker_on(today)
            if gone is active or query.get("ticker", ticker) != ticker:
                continue
            row = {"ticker": ticker, "market": market, "active": active, "currency_name": "usd"}
            if market == "crypto":
                row |= {"base_currency_symbol": stock.name, "currency_symbol": "USD"}
            if stock.delisted is not None and gone:
                row["delisted_utc"] = f"{stock.delisted}T00:00:00Z"
            rows.append(row)
        return self._page(request, rows)

    def _splits(self, request: web.Request) -> web.Response:
        rows = [
            {
                "id": f"split {stock.ticker} {each.day}", "ticker": stock.ticker_on(self.now().date()),
                "execution_date": str(each.day), "split_from": each.of, "split_to": each.to,
            }
            for stock in self._asked(request)
            for each in stock.splits
            if each.day <= self.now().date() + timedelta(days=10)
        ]  # fmt: skip
        return self._page(request, rows)

    def _dividends(self, request: web.Request) -> web.Response:
        rows = [
            {
                "id": f"dividend {stock.ticker} {each.day}", "ticker": stock.ticker_on(self.now().date()),
                "ex_dividend_date": str(each.day), "cash_amount": each.amount, "currency": "USD",
                "dividend_type": "CD", "declaration_date": None if each.declared is None else str(each.declared),
            }
            for stock in self._asked(request)
            for each in stock.dividends
            if (each.declared or each.day - timedelta(days=10)) <= self.now().date()
        ]  # fmt: skip
        return self._page(request, rows)

    def _events(self, request: web.Request) -> web.Response:
        ticker, today = request.match_info["ticker"], self.now().date()
        for stock in self.tape.stocks():
            if stock.ticker_on(today) == ticker:
                held = [each for each in stock.tickers or ((stock.first_day, ticker),) if each[0] <= today]
                events = [
                    {"type": "ticker_change", "date": str(day), "ticker_change": {"ticker": name}} for day, name in held
                ]
                return _json({"status": "OK", "results": {"name": stock.name, "events": events}})
        return web.json_response({"status": "NOT_FOUND", "message": "Ticker not found."}, status=404)

    def _asked(self, request: web.Request) -> list[Stock]:
        today, ticker = self.now().date(), request.query.get("ticker")
        return [stock for stock in self.tape.stocks() if ticker in (None, stock.ticker_on(today))]

    def _page(self, request: web.Request, rows: Sequence[Mapping[str, Any]]) -> web.Response:
        limit, skip = int(request.query.get("limit", "10")), int(request.query.get("cursor", "0"))
        body: dict[str, Any] = {"status": "OK", "results": rows[skip : skip + limit]}
        if len(rows) > skip + limit:
            query = dict(request.query) | {"cursor": str(skip + limit)}
            query.pop("apiKey", None)
            body["next_url"] = str(request.url.with_query(query))
        return _json(body)

    def _base(self, request: web.Request) -> str:
        return self.address or str(request.url.origin())


def _json(body: Mapping[str, Any]) -> web.Response:
    return web.json_response({"request_id": "replay", **body})


def _stated(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _word(plan: Plan) -> str:
    return "DELAYED" if plan.delay else "OK"


def _moment(ms: int) -> datetime:
    return (_EPOCH + ms * _MS).astimezone(NEW_YORK)


def _bound(text: str, *, last: bool) -> int:
    """Unix ms of a bound: ms, or a day in New York (with ``last`` its end)."""
    if "-" not in text:
        return int(text)
    day = datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
    return int((day + _DAY if last else day).timestamp() * 1000) - last
