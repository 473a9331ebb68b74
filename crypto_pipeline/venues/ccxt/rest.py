"""An exchange of ccxt over REST: spot markets, bars by pages that repeat a row, trades where they prove something."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from crypto_pipeline.market.sanity import MAX_MS
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.ccxt import library, parse
from crypto_pipeline.venues.ccxt.bar_pages import AROUND, MOST_ROWS, Row, read_span, rows_of_page
from crypto_pipeline.venues.ccxt.trade_pages import CcxtTrade, read_trades
from crypto_pipeline.venues.ccxt.traits import CCXT_TRAITS
from crypto_pipeline.venues.client.bar_jobs import clip_spans, page_spans
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.http import HttpClient, RequestPolicy
from crypto_pipeline.venues.client.prefetch import Job
from crypto_pipeline.venues.client.responses import HttpResponse, origin_of
from crypto_pipeline.venues.client.rest_venue import BarsJob, RestVenue
from crypto_pipeline.venues.decoding import UNREADABLE
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    FetchPlan,
    Listing,
    MalformedAnswer,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    VenueError,
    VenueStatus,
)

#: Greatest size in bytes of a list of markets.
_ALL_MARKETS = 32 * 1024 * 1024
#: Requests for a page with rows that cannot be.
_ATTEMPTS = 3
#: Pages of days in which the first bar is looked for.
_LISTING_PAGES = 14
_DAY, _MINUTE = Timeframe.D1.milliseconds, Timeframe.M1.milliseconds

#: Pauses between requests for markets that lack one which is needed. Seconds.
_FIRST_LOOK, _LONGEST_LOOK = 30.0, 6 * 3600.0

#: Greatest size of the next body of this task, and whether it is asked for once, even while the breaker is open.
_bound: ContextVar[tuple[int, bool]] = ContextVar("bound", default=(_ALL_MARKETS, False))


class CcxtRest(RestVenue):
    """REST client of one exchange of ccxt; ``exchange`` is ccxt's name of it. Raises ValueError without ccxt.

    ``base_url`` takes the place of all addresses of the exchange. The request budget counts milliseconds of the rate
    limit that ccxt states.
    """

    default_url, default_name, time_path = "", "", ""
    limit = (1000, 1.0)

    def __init__(
        self,
        exchange: str,
        base_url: str | None = None,
        budget: RequestBudget | None = None,
        *,
        name: str | None = None,
        share: float = 0.9,
        policy: RequestPolicy | None = None,
    ) -> None:
        self.exchange = library.make_exchange(exchange, self._send)
        # A window of many requests keeps more of a low limit; one of a second is as fast as a high one.
        window = 1 if self.exchange.rateLimit <= 100 else 10
        super().__init__(
            base_url or "", budget, name=name or f"ccxt_{exchange}", share=share, policy=policy,
            limit=(window * 1000, float(window)),
        )  # fmt: skip
        stated = self.exchange.timeframes or {}
        self.traits = replace(CCXT_TRAITS, timeframes=frozenset(CCXT_TRAITS.timeframes & set(stated)))
        self._clients: dict[str, HttpClient] = {}
        self._newest: HttpResponse | None = None
        self._page_rows = rows_of_page(self.exchange.features)
        #: when markets may be asked for again that lack one which is needed, and after which pause
        self._look_again = 0.0, _FIRST_LOOK
        self.monotonic = time.monotonic

    def explain(self, answer: HttpResponse) -> VenueError | None:
        """See RestVenue.explain."""
        return library.stated_error(self.exchange, answer)

    def refusal(self, answer: HttpResponse) -> VenueError | None:
        """See RestVenue.refusal."""
        return library.stated_error(self.exchange, answer)

    def read_time(self, answer: HttpResponse) -> float:
        """The time (Unix ms) in the header of an answer, of whole seconds. Raises MalformedAnswer without one."""
        try:
            return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() * 1000
        except (ValueError, OverflowError):
            raise MalformedAnswer(f"{self.name} states its time neither in a body nor in the header Date") from None

    async def close(self) -> None:
        """Close connections."""
        await super().close()
        for client in self._clients.values():
            await client.close()

    # The clock

    async def server_time(self) -> datetime:
        """The exchange's clock, UTC: as it states it, else as the header of an answer does."""
        self.clock = await self._ask_time()
        return from_unix_ms(int(self.clock[1]))

    async def status(self) -> VenueStatus:
        """Request the time once, even while the breaker is open. An unreachable exchange is a result, not an error."""
        marker = _bound.set((_ALL_MARKETS, True))
        try:
            _, stated = await self._ask_time()
        except VenueError as error:
            return VenueStatus(reachable=False, time=None, detail=str(error))
        finally:
            _bound.reset(marker)
        return VenueStatus(reachable=True, time=from_unix_ms(int(stated)), detail="answers")

    async def _ask_time(self) -> tuple[float, float]:
        async with self._asking("its time"):
            if self.exchange.has.get("fetchTime") is True:
                sent = time.monotonic()
                stated = await self.exchange.fetch_time()
                if not isinstance(stated, int | float) or not 0 <= stated < MAX_MS:
                    raise MalformedAnswer(f"{self.name}: its time is {stated!r}")
                return sent, float(stated)
            if self._newest is None or not self.exchange.markets:
                await self.exchange.load_markets()
            else:
                await self.exchange.fetch_ohlcv(next(iter(self.exchange.markets)), "1m", None, 1)
            answer = cast(HttpResponse, self._newest)
            return answer.sent, self.read_time(answer)

    # Listings

    async def listings(self) -> list[Listing]:
        """All spot markets. Raises VenueError."""
        async with self._asking("its markets"):
            markets = await self.exchange.load_markets(True)
        steps = library.states_steps(self.exchange)
        return parse.read_markets(self.name, markets.values(), steps=steps)

    async def learn_markets(self, symbols: Iterable[str]) -> None:
        """Ask for the markets where none is known, and again while one of ``symbols`` is not among them: at most after
        30 seconds, then after pauses that grow to six hours. Raises VenueError.
        """
        markets, now = self.exchange.markets or {}, self.monotonic()
        again = bool(markets) and any(symbol not in markets for symbol in symbols)
        if again and now < self._look_again[0]:
            return
        pause = min(_LONGEST_LOOK, 2 * self._look_again[1]) if again else _FIRST_LOOK
        if again or not markets:
            self._look_again = now + pause, pause
        async with self._asking("its markets"):
            await self.exchange.load_markets(again)

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """The first minute of the first day that has a bar; None where that cannot be told.

        Pages of days are read from now back until one is empty.
        """
        today = _DAY * (unix_ms(await self.venue_time(time.monotonic())) // _DAY)
        first, end = None, today + _DAY
        ask = partial(self._rows, venue_symbol, "1d")
        for _ in range(_LISTING_PAGES):
            since = end - self._page_rows * _DAY
            times = [row[0] for row in await ask(since, self._page_rows, None) if since <= row[0] < end]
            if not times:
                break
            first, end = min(times), min(since, min(times))
        else:
            return None
        if first is None:
            return None
        # An exchange that gives its newest rows whatever is asked for does not begin with this day.
        again = [row[0] for row in await ask(first - 30 * _DAY, 40, None)]
        if not again or min(again) != first:
            return None
        return await self._minute(venue_symbol, first, min)

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time (UTC) of the newest 1m bar; where none is near, the last minute of the newest day."""
        now = unix_ms(await self.venue_time(time.monotonic()))
        for timeframe, width in (("1m", _MINUTE), ("1d", _DAY)):
            since = now - now % width - (self._page_rows - 1) * width  # without it, some give their oldest rows
            times = [row[0] for row in await self._rows(venue_symbol, timeframe, since, self._page_rows, None)]
            if times and timeframe == "1d":
                return await self._minute(venue_symbol, max(times), max)
            if times:
                return from_unix_ms(max(times))
        return None

    async def _minute(self, venue_symbol: str, day: int, which: Callable[[Sequence[int]], int]) -> datetime:
        """The first (``min``) or last (``max``) minute with a bar of the day that begins at ``day``, Unix ms."""
        ask = partial(self._rows, venue_symbol, "1m")
        rows = await read_span(ask, day, day + _DAY, _MINUTE, self._page_rows)
        return from_unix_ms(which([row[0] for row in rows] or [day]))

    # Bars

    async def prepare(self, plans: list[FetchPlan]) -> None:
        """See RestVenue.prepare."""
        await super().prepare(plans)
        await self.learn_markets({plan.venue_symbol for plan in plans})

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """One job for each page; many short spans that one page holds are asked for together."""
        most = self._page_rows - AROUND
        near: list[tuple[datetime, datetime]] = []
        for start, end in clip_spans(plan, settled):
            for span in page_spans(plan.timeframe, start, end, most):
                if near and plan.timeframe.count(near[0][0], span[1]) > most:
                    yield self._job(key, plan, near)
                    near = []
                near.append(span)
        if near:
            yield self._job(key, plan, near)

    def _job(self, key: int, plan: FetchPlan, spans: list[tuple[datetime, datetime]]) -> BarsJob:
        whole = spans[0][0], spans[-1][1]
        return Job(key, plan.timeframe.count(*whole), partial(self._windows, plan, spans), whole)

    async def _windows(self, plan: FetchPlan, spans: list[tuple[datetime, datetime]]) -> list[BarsAnswer]:
        sent = time.monotonic()
        first, last = unix_ms(spans[0][0]), unix_ms(spans[-1][1])
        ask = partial(self._rows, plan.venue_symbol, str(plan.timeframe))
        rows = await read_span(ask, first, last, plan.timeframe.milliseconds, self._page_rows)
        stated = await self.venue_time(sent)
        answers = []
        for start, end in spans:
            span = unix_ms(start), unix_ms(end)
            inside = [row for row in rows if span[0] <= row[0] < span[1]]
            bars, refused = parse.frame_of_rows(inside, plan.instrument, plan.timeframe, stated, span)
            answers.append(
                BarsAnswer(plan.instrument, plan.timeframe, start, end, bars, stated, "rest", tuple(refused))
            )
        return answers

    async def _rows(
        self, venue_symbol: str, timeframe: str, since: int | None, limit: int, until: int | None
    ) -> list[Row]:
        """A page of rows; asked for again where some cannot be."""
        params = {} if until is None else {"until": until}
        bound, width = rows_bound(2 * max(limit, self._page_rows)), Timeframe(timeframe)
        rows: list[Row] = []
        for _ in range(_ATTEMPTS):
            async with self._asking(f"{timeframe} bars of {venue_symbol}", bound):
                page = await self.exchange.fetch_ohlcv(venue_symbol, timeframe, since, limit, params)
            rows = [row for row in page if parse.is_row(row)]
            _, refused = parse.frame_of_rows(rows, venue_symbol, width, from_unix_ms(0), (0, MAX_MS))
            if len(rows) == len(page) and not refused:
                break
        return rows

    # Trades

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All trades of the part of ``[start, end)`` that the answer names, with ids that are made here.

        The exchange shows of this part that no trade is missing. Raises VenueError where there is none.
        """
        if self.exchange.has.get("fetchTrades") is not True:
            raise VenueError(f"{self.name} gives no trades", permanent=True)
        begin, until = unix_ms(require_utc(start)), unix_ms(require_utc(end))
        await self.learn_markets([venue_symbol])
        try:
            since, until, rows = await read_trades(partial(self._trades, venue_symbol), begin, until)
        except MalformedAnswer as error:
            raise MalformedAnswer(f"{self.name}, trades of {venue_symbol}: {error}") from error
        except VenueError as error:
            if not error.permanent or isinstance(error, UnknownSymbol):
                raise
            raise VenueError(f"{self.name}, trades of {venue_symbol}: {error}", permanent=True) from error
        span = from_unix_ms(since), from_unix_ms(until)
        return TradesAnswer(*span, parse.frame_of_trades(rows, instrument), instrument=instrument)

    async def _trades(self, venue_symbol: str, since: int, until: int | None) -> list[CcxtTrade]:
        why, params = "", {} if until is None else {"until": until}
        for _ in range(_ATTEMPTS):
            async with self._asking(f"trades of {venue_symbol}", rows_bound(2 * MOST_ROWS, 1024)):
                page = await self.exchange.fetch_trades(venue_symbol, since, MOST_ROWS, params)
            try:
                return [parse.read_trade(row) for row in page]
            except UNREADABLE as error:  # one that cannot be is one that is missing
                why = str(error)
        raise MalformedAnswer(why)

    # Requests

    @asynccontextmanager
    async def _asking(self, what: str, bound: int = _ALL_MARKETS) -> AsyncIterator[None]:
        """Errors of ccxt as ours, and the greatest size of bodies."""
        await self.tell_limit()
        marker = _bound.set((bound, _bound.get()[1]))
        try:
            with library.as_venue_errors(self.exchange, what):
                yield
        finally:
            _bound.reset(marker)

    async def _send(self, request: library.Sent) -> Any:
        """The decoded body of a request of ccxt."""
        address = urlsplit(request.url)
        client = self._client(origin_of(request.url))
        path = address.path + (f"?{address.query}" if address.query else "")
        bound, once = _bound.get()
        if not self.exchange.markets:
            bound = _ALL_MARKETS  # ccxt asks for the markets before anything else

        def decode(answer: HttpResponse) -> Any:
            document = library.decoded(self.exchange, answer)
            self._newest = answer
            return document

        if request.content is not None:
            return await client.post(path, decode, content=request.content, weight=request.weight, max_bytes=bound)
        if once:
            return await client.get_once(path, decode, weight=request.weight, max_bytes=bound)
        return await client.get(path, decode, weight=request.weight, max_bytes=bound)

    def _client(self, origin: str) -> HttpClient:
        """The client of one host of the exchange."""
        base = self.http.base_url or origin
        if base not in self._clients:
            self._clients[base] = HttpClient(
                self.name, base, budget=self.http.budget, policy=self.policy, explain=self.explain,
                refused=self.refusal, headers=dict(self.exchange.headers or {}),
            )  # fmt: skip
        return self._clients[base]
