"""Massive over REST: bars as they were traded, trades, listings, splits, dividends and renames.

The key goes in a header, never in an address. A minute without trades has no bar. Bars of a delayed plan are settled so
much later.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from crypto_pipeline.market.instruments import AssetClass
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.client.bar_jobs import clip_spans, page_spans
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.http import Params, RequestPolicy
from crypto_pipeline.venues.client.prefetch import Job
from crypto_pipeline.venues.client.responses import HttpResponse, RateLimited, require_all_rows
from crypto_pipeline.venues.client.rest_venue import BarsJob, RestVenue
from crypto_pipeline.venues.massive import parse
from crypto_pipeline.venues.massive.reference import Reference
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    FetchPlan,
    Listing,
    MalformedAnswer,
    RejectedRow,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    VenueError,
)

T = TypeVar("T")

#: Bars that one answer has at most, and pages of trades of one span.
MOST_BARS, MOST_TRADES, MOST_PAGES = 50_000, 50_000, 200
#: A bar of a day changes until trading after the session has ended, at 20:00 in New York.
_DAY_SETTLES = timedelta(hours=6)
#: Seconds to wait where a plan's requests of the minute are used up: Massive does not say until when.
_NEXT_MINUTE = 15.0
#: Before this day Massive has no bars.
_FIRST_DAY = datetime(2003, 9, 10, tzinfo=UTC)
#: How long ago the newest bar of an instrument is looked for.
_NEWEST_DAYS = 14
_SPANS = {Timeframe.M1: "minute", Timeframe.D1: "day"}
_BY_DATE = (Timeframe.D1, Timeframe.W1)


class MassiveRest(RestVenue):
    """What the clients for stocks and for crypto share."""

    default_url = "https://api.massive.com"
    #: Requests of the free plan.
    limit = (5, 60.0)
    time_path = "/v1/marketstatus/now"
    #: ``market`` in Massive's words.
    market: str

    def __init__(
        self,
        key: str,
        base_url: str | None = None,
        budget: RequestBudget | None = None,
        *,
        requests_per_minute: int = 5,
        delay: timedelta = timedelta(0),
        share: float = 1.0,
        policy: RequestPolicy | None = None,
    ) -> None:
        super().__init__(
            base_url, budget, share=share, policy=policy,
            headers={"Authorization": f"Bearer {key}"}, limit=(requests_per_minute, 60.0),
        )  # fmt: skip
        settled = self.traits.settle_delay + delay
        self.traits = replace(self.traits, settle_delay=settled, delay=delay, requests_per_minute=requests_per_minute)
        self.reference = Reference(self._rows, self.name, self.market)

    def explain(self, answer: HttpResponse) -> VenueError | None:
        """What a refusal means, and what helps; None leaves it to the status."""
        text = parse.parse_refusal(answer.body)
        where = urlsplit(answer.url).path
        said = f" ({text})" if text else ""
        if answer.status == 429:
            return RateLimited(
                f"Massive allows no more requests in this minute{said}: a plan with more, and "
                "CRYPTO_PIPELINE_MASSIVE_REQUESTS_PER_MINUTE to match, is faster",
                retry_after=_NEXT_MINUTE,
            )
        if answer.status == 401:
            return VenueError(
                f"Massive does not accept the key{said}: set CRYPTO_PIPELINE_MASSIVE_KEY to a key of "
                "https://massive.com/dashboard/keys",
                permanent=True,
            )
        if answer.status == 403:
            return VenueError(
                f"the plan of this key does not include {where}{said}: renew or upgrade it at "
                "https://massive.com/dashboard, or ask for fewer days with CRYPTO_PIPELINE_DAYS",
                permanent=True,
            )
        if answer.status == 404:
            return UnknownSymbol(
                f"Massive knows nothing at {where}{said}: is the ticker right, for example AAPL or BRK.B?"
            )
        return None

    def read_time(self, answer: HttpResponse) -> float:
        """See RestVenue.read_time."""
        return parse.parse_server_time(answer.body)

    @abstractmethod
    def ticker(self, venue_symbol: str) -> str:
        """The ticker in addresses of bars."""

    async def listings(self) -> list[Listing]:
        """Every instrument that is traded."""
        return await self.reference.listings()

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """The first minute of the first day that this key's plan shows."""
        today = await self.venue_time(time.monotonic())
        for ticker, first, last in self.tickers_of(venue_symbol, _FIRST_DAY, today, daily=True):
            days = await self._bars(ticker, Timeframe.D1, f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}", limit=1)
            if days:
                day = f"{datetime.fromtimestamp(days[0].t / 1000, parse.NEW_YORK):%Y-%m-%d}"
                minutes = await self._bars(ticker, Timeframe.M1, day, day, limit=1)
                return from_unix_ms((minutes or days)[0].t)
        return None

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """The newest minute of the last two weeks."""
        now = await self.venue_time(time.monotonic())
        since, until = (str(unix_ms(moment)) for moment in (now - timedelta(days=_NEWEST_DAYS), now))
        rows = await self._bars(self.ticker(venue_symbol), Timeframe.M1, since, until, limit=1, newest_first=True)
        return from_unix_ms(rows[0].t) if rows else None

    async def _bars(
        self, ticker: str, timeframe: Timeframe, first: str, last: str, *, limit: int, newest_first: bool = False
    ) -> list[parse.Aggregate]:
        path = self._path(ticker, timeframe, first, last)
        params: Params = {"adjusted": "false", "sort": "desc" if newest_first else "asc", "limit": limit}
        rows, _ = await self._rows(path, params, parse.parse_aggregates, 100, most=limit)
        return rows

    # Bars

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """See RestVenue.jobs."""
        daily = plan.timeframe in _BY_DATE
        # a week has its last session days before it is over
        until = settled - _DAY_SETTLES if plan.timeframe is Timeframe.D1 else settled
        for start, end in clip_spans(plan, until):
            for begin, over in page_spans(plan.timeframe, start, end, MOST_BARS):
                if plan.timeframe is Timeframe.W1:
                    count = Timeframe.D1.count(begin, over)
                    yield Job(key, count, partial(self._weeks, plan, begin, over), (begin, over))
                    continue
                for ticker, first, last in self.tickers_of(plan.venue_symbol, begin, over, daily=daily):
                    work = partial(self._window, plan, ticker, first, last)
                    yield Job(key, plan.timeframe.count(first, last), work, (first, last))

    def tickers_of(
        self, venue_symbol: str, start: datetime, end: datetime, *, daily: bool = False
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """The tickers under which the instrument was traded in ``[start, end)``, and when; in time order.

        ``daily``: bars of days are asked for, which open at 00:00 UTC of their date.
        """
        yield self.ticker(venue_symbol), start, end

    async def _weeks(self, plan: FetchPlan, start: datetime, end: datetime) -> list[BarsAnswer]:
        """Bars of weeks, made of those of their days: a rename in the middle of a week divides its days."""
        days: list[parse.Aggregate] = []
        unread: list[RejectedRow] = []
        sent = time.monotonic()
        for ticker, first, last in self.tickers_of(plan.venue_symbol, start, end, daily=True):
            dated = parse.Dated.of(Timeframe.D1, first, last)
            path = self._path(ticker, Timeframe.D1, dated.first, dated.last)
            params: Params = {"adjusted": "false", "sort": "asc", "limit": MOST_BARS}
            rows, bad = await self._rows(path, params, parse.parse_aggregates, MOST_BARS)
            days += rows
            unread += bad
        stated = await self.venue_time(sent)
        frame, refused = parse.frame_of_aggregates(parse.weeks_of(days), plan, (start, end), stated)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, frame, stated, "rest", (*unread, *refused))]

    async def _window(self, plan: FetchPlan, ticker: str, start: datetime, end: datetime) -> list[BarsAnswer]:
        dated = parse.Dated.of(plan.timeframe, start, end)
        path = self._path(ticker, plan.timeframe, dated.first, dated.last)
        params: Params = {"adjusted": "false", "sort": "asc", "limit": MOST_BARS}
        sent = time.monotonic()

        def read(raw: list[msgspec.Raw]) -> tuple[list[parse.Aggregate], list[RejectedRow]]:
            rows, unread = parse.parse_aggregates(raw)
            # checked here, so that a passing fault is requested again
            _, refused = parse.frame_of_aggregates(rows, plan, (start, end), start)
            return require_all_rows((rows, unread), [*unread, *refused])

        rows, unread = await self._rows(path, params, read, MOST_BARS)
        stated = await self.venue_time(sent)
        frame, refused = parse.frame_of_aggregates(rows, plan, (start, end), stated)
        found = (*unread, *refused)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, frame, stated, "rest", found)]

    def _path(self, ticker: str, timeframe: Timeframe, first: str, last: str) -> str:
        return f"/v2/aggs/ticker/{quote(ticker, safe=':')}/range/1/{_SPANS[timeframe]}/{first}/{last}"

    # Trades

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """Trades of ``[start, end)`` that count in bars. Their ids are made here, see ``parse.frame_of_trades``."""
        begin, until = require_utc(start), require_utc(end)
        rows: list[parse.MassiveTrade] = []
        refused: list[RejectedRow] = []
        for ticker, first, last in self.trade_tickers_of(venue_symbol, begin, until):
            params: Params = {
                "timestamp.gte": unix_ms(first) * 1_000_000, "timestamp.lt": unix_ms(last) * 1_000_000,
                "order": "asc", "sort": "timestamp", "limit": MOST_TRADES,
            }  # fmt: skip
            path = f"/v3/trades/{quote(ticker, safe=':')}"
            found, bad = await self._rows(path, params, parse.parse_trades, MOST_TRADES)
            rows += found
            refused += bad
        crypto = self.traits.asset_class is AssetClass.CRYPTO
        counted = rows if crypto else parse.counted_trades(rows)
        frame = parse.frame_of_trades(counted, instrument, crypto=crypto)
        return TradesAnswer(start, end, frame, instrument=instrument, refused=tuple(refused))

    def trade_tickers_of(
        self, venue_symbol: str, start: datetime, end: datetime
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """As ``tickers_of``, as addresses of trades have them."""
        return self.tickers_of(venue_symbol, start, end)

    # Pages

    async def _rows(
        self,
        path: str,
        params: Params,
        read: Callable[[list[msgspec.Raw]], tuple[list[T], list[RejectedRow]]],
        page_rows: int,
        most: int | None = None,
    ) -> tuple[list[T], list[RejectedRow]]:
        """The rows of an answer and of the pages that follow it, until there are ``most``.

        The next page is asked for at our own address, wherever it is said to be.
        """
        await self.tell_limit()
        found: list[T] = []
        refused: list[RejectedRow] = []
        asked: set[str] = set()
        following = ""

        def decode(answer: HttpResponse) -> tuple[list[T], list[RejectedRow]]:
            nonlocal following
            page = parse.parse_page(answer.body, self.market)
            following = page.next_url or ""
            return read(page.rows)

        for _ in range(MOST_PAGES):
            rows, bad = await self.http.get(path, decode, params=params, weight=1, max_bytes=rows_bound(page_rows + 1))
            found += rows
            refused += bad
            if not following or (most is not None and len(found) >= most):
                return found, refused
            if following in asked:
                raise MalformedAnswer(f"{self.name} {path}: its pages lead in a circle")
            asked.add(following)
            address = urlsplit(following)
            path, params = address.path, dict(parse_qsl(address.query))
            params.pop("apiKey", None)
        raise MalformedAnswer(f"{self.name} {path}: more than {MOST_PAGES} pages")
