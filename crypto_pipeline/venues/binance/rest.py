"""Binance spot: bars, aggregate trades, listings and status over REST, long spans from the file archive first."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.archive import BinanceArchive
from crypto_pipeline.venues.binance.bars import PAGE, BarRequests
from crypto_pipeline.venues.binance.trades import LIMIT, fetch_trades
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.http import HttpClient, Params, RequestPolicy
from crypto_pipeline.venues.client.responses import HttpResponse, require_all_rows
from crypto_pipeline.venues.client.rest_venue import BarsJob, RestVenue
from crypto_pipeline.venues.protocol import (
    FetchPlan,
    Listing,
    MalformedAnswer,
    RejectedRow,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    VenueError,
    VenueTraits,
    VenueUnavailable,
)
from crypto_pipeline.venues.trade_rows import TradePage

log = logging.getLogger(__name__)

_KLINES_WEIGHT, _TRADES_WEIGHT, _INFO_WEIGHT = 2, 4, 20
#: Greatest number of rows that are requested but not yet consumed (about 100 bytes each).
_ROWS_AHEAD = 400_000
_TRANSIENT = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})
_REANCHOR = 60.0
#: Greatest size in bytes of exchangeInfo of all symbols (some kilobytes each), and of one symbol.
_ALL_SYMBOLS, _ONE_SYMBOL = 48 * 1024 * 1024, 256 * 1024


class BinanceSpot(RestVenue):
    """REST client of Binance spot, or of a server with the same interface. Use it in one event loop at a time.

    Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api. ``timeout`` is in seconds.
    """

    traits = VenueTraits(timeframes=frozenset(Timeframe), states_empty_bars=True, contiguous_trade_ids=True)
    default_url = "https://data-api.binance.vision"
    default_name = "binance"
    #: Used until ``exchangeInfo`` states another limit.
    limit = (6000, 60.0)
    time_path = "/api/v3/time"

    def __init__(
        self,
        base_url: str | None = None,
        archive_url: str = "https://data.binance.vision",
        budget: RequestBudget | None = None,
        *,
        archive_min_days: int = 3,
        name: str | None = None,
        share: float = 0.9,
        policy: RequestPolicy | None = None,
    ) -> None:
        super().__init__(base_url, budget, name=name, share=share, policy=policy)
        self.share = share
        self.http.used_header = "X-MBX-USED-WEIGHT-1M"
        # Files have no request weight; their budget only holds pauses. REST has the same bars, so attempts are few.
        self.files = HttpClient(
            f"{self.name} archive", archive_url, policy=replace(self.policy, attempts=min(self.policy.attempts, 3))
        )
        self._requests = BarRequests(self._page, BinanceArchive(self.files), timedelta(days=archive_min_days))
        self._asked = 0.0
        self._limits_known = False

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()
        await self.files.close()

    # Facts about the venue

    def explain(self, answer: HttpResponse) -> VenueError | None:
        """The error that Binance's error code stands for; None if the body has no code."""
        error = parse.parse_error(answer.body)
        if error is None or answer.status >= 500:
            return None
        text = f"Binance refused {answer.url}: {error.code} {error.msg}"
        if error.code == -1121:
            return UnknownSymbol(text)
        if error.code in _TRANSIENT:
            return VenueUnavailable(text)
        if error.code == -1003:
            return parse.banned(text, error.msg, answer.server_time)
        return VenueError(text, permanent=True)

    def read_time(self, answer: HttpResponse) -> float:
        """See RestVenue.read_time."""
        return float(parse.parse_server_time(answer.body))

    async def tell_limit(self) -> None:
        """Do nothing: ``prepare`` takes the limit that the venue states, and other processes may have stored it."""

    async def listings(self) -> list[Listing]:
        """All symbols. Binance does not state when a symbol was listed; use ``listed_since``. Raises VenueError."""
        info = await self.http.get(
            "/api/v3/exchangeInfo",
            lambda answer: parse.parse_info(answer.body),
            weight=_INFO_WEIGHT,
            max_bytes=_ALL_SYMBOLS,
        )
        await self._take_limits(info)
        return info.symbols

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """Open time of the symbol's first minute bar (UTC)."""
        return await self._first_bar(venue_symbol, Timeframe.M1)

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Open time (UTC) of the first bar of each timeframe, one request each: timeframes may start at different
        times.
        """
        firsts = await asyncio.gather(*(self._first_bar(venue_symbol, timeframe) for timeframe in Timeframe))
        return {timeframe: first for timeframe, first in zip(Timeframe, firsts, strict=True) if first is not None}

    async def _first_bar(self, venue_symbol: str, timeframe: Timeframe) -> datetime | None:
        params: Params = {"symbol": venue_symbol, "interval": str(timeframe), "startTime": 0, "limit": 1}
        return await self._one_open(params)

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time (UTC) of the symbol's newest 1m bar; for a delisted symbol, its last minute."""
        params: Params = {"symbol": venue_symbol, "interval": "1m", "limit": 1}
        return await self._one_open(params)

    async def _one_open(self, params: Params) -> datetime | None:
        ms = await self.http.get(
            "/api/v3/klines", lambda answer: parse.kline_open(answer.body), params=params, weight=_KLINES_WEIGHT
        )
        return None if ms is None else from_unix_ms(ms)

    async def _take_limits(self, info: parse.ExchangeInfo) -> None:
        limit = parse.weight_limit(info, self.share)
        if limit is not None:
            await self.http.budget.limit(limit)
            self.http.used_header = parse.used_header(limit)
        self._limits_known = True

    async def prepare(self, plans: list[FetchPlan]) -> None:
        """Read the request limit before many pages are requested: Binance has changed it before. Raises VenueError."""
        if self._limits_known:
            return
        try:
            info = await self.http.get(
                "/api/v3/exchangeInfo",
                lambda answer: parse.parse_info(answer.body),
                params={"symbol": plans[0].venue_symbol},
                weight=_INFO_WEIGHT,
                max_bytes=_ONE_SYMBOL,
            )
        except VenueError as error:
            if not error.permanent and not isinstance(error, MalformedAnswer):
                raise
            return  # only this symbol is unknown; the request for its page raises the error
        await self._take_limits(info)

    # Bars

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """See RestVenue.jobs."""
        return self._requests.jobs(key, plan, settled, archive)

    async def _page(
        self, plan: FetchPlan, start: datetime, end: datetime
    ) -> tuple[pl.DataFrame, list[RejectedRow], datetime]:
        params: Params = {
            "symbol": plan.venue_symbol,
            "interval": str(plan.timeframe),
            "startTime": unix_ms(start),
            "endTime": unix_ms(end) - 1,  # inclusive there, exclusive here
            "limit": PAGE,
        }

        def decode(answer: HttpResponse) -> tuple[pl.DataFrame, list[RejectedRow], datetime]:
            stated = self.time_by_clock(answer.sent)
            rows, unread = parse.parse_klines(answer.body)
            span = unix_ms(start), unix_ms(end)
            frame, refused = parse.frame_of_klines(rows, plan.instrument, plan.timeframe, stated, span)
            found = [*unread, *refused]
            return require_all_rows((frame, found, stated), found)

        await self._anchor_clock()
        most = rows_bound(min(PAGE, plan.timeframe.count(start, end)))
        return await self.http.get("/api/v3/klines", decode, params=params, weight=_KLINES_WEIGHT, max_bytes=most)

    # Trades

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All aggregate trades of ``[start, end)`` (UTC), paged by the ids of aggregate trades. Raises VenueError."""

        async def page(params: Params) -> TradePage[parse.AggTrade]:
            def read(answer: HttpResponse) -> TradePage[parse.AggTrade]:
                found = parse.parse_trades(answer.body)
                return require_all_rows(found, found.refused)

            return await self.http.get(
                "/api/v3/aggTrades",
                read,
                params={"symbol": venue_symbol, **params},
                weight=_TRADES_WEIGHT,
                max_bytes=rows_bound(LIMIT),
            )

        return await fetch_trades(page, instrument, require_utc(start), require_utc(end))

    # The venue's clock

    async def _anchor_clock(self) -> None:
        now = time.monotonic()
        if self.clock is None:
            await self.server_time()
        elif now - self.clock[0] > _REANCHOR and now - self._asked > _REANCHOR:
            self._asked = now  # only one of the concurrent pages requests the time
            await self.server_time()
