"""Coinbase Exchange over REST: products, candles (a minute without trades has none), trades by id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.client.bar_jobs import clip_spans, page_spans
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.http import Params
from crypto_pipeline.venues.client.prefetch import Job
from crypto_pipeline.venues.client.responses import HttpResponse, NotFound, require_all_rows
from crypto_pipeline.venues.client.rest_venue import BarsJob, RestVenue
from crypto_pipeline.venues.coinbase import parse
from crypto_pipeline.venues.coinbase.trades import LIMIT, Page, fetch_trades, require_readable
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    FetchPlan,
    Listing,
    RejectedRow,
    TradesAnswer,
    UnknownSymbol,
    VenueError,
    VenueTraits,
)
from crypto_pipeline.venues.trade_rows import frame_of_trades

#: Greatest number of candles of one answer; the venue refuses a request for more.
BUCKETS = 300
#: Greatest size in bytes of the list of all products, a kilobyte each.
_ALL_PRODUCTS = 16 * 1024 * 1024


class CoinbaseExchange(RestVenue):
    """REST client of Coinbase Exchange. The HTTP client sends the User-Agent that the venue requires.

    Source: https://docs.cdp.coinbase.com/exchange/reference. ``timeout`` is in seconds.
    """

    traits = VenueTraits(
        timeframes=frozenset({Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.D1}),
        states_empty_bars=False,
        contiguous_trade_ids=True,
    )
    default_url = "https://api.exchange.coinbase.com"
    default_name = "coinbase"
    limit = (10, 1.0)
    time_path = "/time"

    def explain(self, answer: HttpResponse) -> VenueError | None:
        """The error that the body's text stands for; None if it has no text."""
        text = parse.parse_message(answer.body)
        if text is None or answer.status >= 500 or answer.status == 429:
            return None
        where = f"Coinbase refused {answer.url}: {text}"
        if answer.status == 404:
            return UnknownSymbol(where) if "/products/" in answer.url else NotFound(where)
        return VenueError(where, permanent=True)

    def read_time(self, answer: HttpResponse) -> float:
        """See RestVenue.read_time."""
        return parse.parse_server_time(answer.body)

    async def listings(self) -> list[Listing]:
        """All products. Coinbase does not state when a product was listed; use ``listed_since``. Raises VenueError."""
        await self.tell_limit()
        return await self.http.get(
            "/products", lambda answer: parse.parse_products(answer.body), weight=1, max_bytes=_ALL_PRODUCTS
        )

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """The minute (UTC) of the product's trade 1: ids begin at 1 and have no gaps."""
        page = await self._trades(venue_symbol, {"after": 2, "limit": 1})
        page = page if page.rows else await self._trades(venue_symbol, {"after": 1000, "limit": 1000})
        require_readable(page)
        return Timeframe.M1.floor(from_unix_ms(page.rows[0].ms)) if page.rows else None

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """The minute (UTC) of the product's newest trade: minutes without trades have no bar."""
        page = await self._trades(venue_symbol, {"limit": 1})
        require_readable(page)
        return Timeframe.M1.floor(from_unix_ms(page.rows[-1].ms)) if page.rows else None

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """See RestVenue.jobs."""
        for start, end in clip_spans(plan, settled):
            for begin, until in page_spans(plan.timeframe, start, end, BUCKETS):
                yield Job(key, BUCKETS, partial(self._window, plan, begin, until), (begin, until))

    async def _window(self, plan: FetchPlan, start: datetime, end: datetime) -> list[BarsAnswer]:
        last = end - plan.timeframe.delta  # the venue includes both ends
        params: Params = {
            "granularity": plan.timeframe.seconds,
            "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": last.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

        def decode(answer: HttpResponse) -> tuple[list[parse.Candle], list[RejectedRow], float]:
            rows, unread = parse.parse_candles(answer.body)
            # checked here, so that a temporary fault leads to another request
            _, refused = parse.frame_of_candles(rows, plan, unix_ms(start), unix_ms(end), start)
            return require_all_rows((rows, unread, answer.sent), [*unread, *refused])

        path = f"/products/{plan.venue_symbol}/candles"
        # the venue may add candles from before the start
        rows, unread, sent = await self.http.get(
            path, decode, params=params, weight=1, max_bytes=rows_bound(2 * BUCKETS)
        )
        stated = await self.venue_time(sent)
        frame, refused = parse.frame_of_candles(rows, plan, unix_ms(start), unix_ms(end), stated)
        found = (*unread, *refused)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, frame, stated, "rest", found)]

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All trades of ``[start, end)`` (UTC), searched by id: the venue pages only from newer to older ids."""
        await self.tell_limit()

        async def page(after: int | None, limit: int) -> Page:
            params: dict[str, str | int] = {"limit": limit}
            if after is not None:
                params["after"] = after
            return await self._trades(venue_symbol, params)

        begin, until = unix_ms(require_utc(start)), unix_ms(require_utc(end))
        refused: list[RejectedRow] = []
        rows, before, after = await fetch_trades(page, begin, until, refused)
        frame = frame_of_trades(rows, instrument)
        return TradesAnswer(start, end, frame, before, after, refused=tuple(refused), instrument=instrument)

    async def _trades(self, venue_symbol: str, params: Params) -> Page:
        await self.tell_limit()

        def decode(answer: HttpResponse) -> Page:
            cursor = answer.headers.get("CB-AFTER", "")
            found = parse.parse_trades(answer.body)
            known = cursor.isascii() and cursor.isdigit() and len(cursor) < 17
            return require_all_rows(Page(found.rows, int(cursor) if known else None, found.refused), found.refused)

        most = rows_bound(LIMIT)
        return await self.http.get(f"/products/{venue_symbol}/trades", decode, params=params, weight=1, max_bytes=most)
