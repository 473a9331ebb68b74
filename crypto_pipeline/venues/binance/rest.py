"""Binance spot: bars, aggregate trades, listings and status over REST, long spans from the file archive first."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.venues.bar_jobs import judge_failure
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.archive import BinanceArchive
from crypto_pipeline.venues.binance.bars import PAGE, BarRequests
from crypto_pipeline.venues.binance.trades import LIMIT, fetch_trades
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.http import HttpClient, Params, RequestPolicy
from crypto_pipeline.venues.client.prefetch import FailureAction, Job, prefetch
from crypto_pipeline.venues.client.responses import HttpResponse, require_all_rows
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    Listing,
    MalformedAnswer,
    RejectedRow,
    RequestBudget,
    TradesAnswer,
    UnknownSymbol,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
)
from crypto_pipeline.venues.trade_rows import TradePage

log = logging.getLogger(__name__)

_KLINES_WEIGHT, _TRADES_WEIGHT, _INFO_WEIGHT = 2, 4, 20
#: Rows begun and not yet taken by the consumer (about 100 bytes each).
_ROWS_AHEAD = 400_000
_TRANSIENT = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})
_REANCHOR = 60.0
#: exchangeInfo of all symbols, some kilobytes each; of one symbol.
_ALL_SYMBOLS, _ONE_SYMBOL = 48 * 1024 * 1024, 256 * 1024


class BinanceSpot:
    """One connection set to Binance spot or to something that speaks like it. Use from one event loop at a time."""

    traits = VenueTraits(timeframes=frozenset(Timeframe), states_empty_bars=True, contiguous_trade_ids=True)

    def __init__(
        self,
        base_url: str = "https://data-api.binance.vision",
        archive_url: str = "https://data.binance.vision",
        budget: RequestBudget | None = None,
        timeout: float = 15.0,
        attempts: int = 6,
        concurrency: int = 8,
        *,
        name: str = "binance",
        share: float = 0.9,
        archive_min_days: int = 3,
        policy: RequestPolicy | None = None,
    ) -> None:
        self.name = name
        self.share = share
        policy = policy or RequestPolicy(timeout=timeout, attempts=attempts, concurrency=concurrency)
        self.policy = policy
        budget = budget or MemoryBudget(BudgetLimit(6000, share=share))
        self.http = HttpClient(
            name, base_url, budget=budget, policy=policy, used_header="X-MBX-USED-WEIGHT-1M", explain=_explain
        )
        # Files are not weighed: a budget of their own, for pauses only. Where they fail, REST stands in soon.
        self.files = HttpClient(
            f"{name} archive", archive_url, policy=replace(policy, attempts=min(policy.attempts, 3))
        )
        self._requests = BarRequests(self._page, BinanceArchive(self.files), timedelta(days=archive_min_days))
        self._clock: tuple[float, float] | None = None
        self._asked = 0.0
        self._limits_known = False

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()
        await self.files.close()

    # Facts about the venue

    async def server_time(self) -> datetime:
        """The venue's clock, UTC."""
        sent, stated = await self.http.get("/api/v3/time", _read_time, weight=1)
        self._clock = sent, stated
        return _moment(stated)

    async def status(self) -> VenueStatus:
        """Ask once, even while the breaker is open. Never raises: an unreachable venue is an answer."""
        try:
            _, stated = await self.http.get_once("/api/v3/time", _read_time, weight=1)
        except VenueError as error:
            return VenueStatus(reachable=False, time=None, detail=str(error))
        return VenueStatus(reachable=True, time=_moment(stated), detail="answers")

    async def listings(self) -> list[Listing]:
        """Every symbol that Binance states. When a symbol was listed it does not state: see ``listed_since``."""
        info = await self.http.get(
            "/api/v3/exchangeInfo",
            lambda answer: parse.parse_info(answer.body),
            weight=_INFO_WEIGHT,
            max_bytes=_ALL_SYMBOLS,
        )
        await self._take_limits(info)
        return info.symbols

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """Open time of the first minute bar Binance ever had of the symbol."""
        return await self._first_bar(venue_symbol, Timeframe.M1)

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Open time of the first bar of each width, one small request each: they need not begin together."""
        firsts = await asyncio.gather(*(self._first_bar(venue_symbol, timeframe) for timeframe in Timeframe))
        return {timeframe: first for timeframe, first in zip(Timeframe, firsts, strict=True) if first is not None}

    async def _first_bar(self, venue_symbol: str, timeframe: Timeframe) -> datetime | None:
        params: Params = {"symbol": venue_symbol, "interval": str(timeframe), "startTime": 0, "limit": 1}
        return await self._one_open(params)

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time of the newest minute bar of the symbol: for one that does not trade any more, when it ended."""
        params: Params = {"symbol": venue_symbol, "interval": "1m", "limit": 1}
        return await self._one_open(params)

    async def _one_open(self, params: Params) -> datetime | None:
        ms = await self.http.get(
            "/api/v3/klines", lambda answer: parse.kline_open(answer.body), params=params, weight=_KLINES_WEIGHT
        )
        return None if ms is None else _moment(ms)

    async def _take_limits(self, info: parse.ExchangeInfo) -> None:
        limit = parse.weight_limit(info, self.share)
        if limit is not None:
            await self.http.budget.limit(limit)
            self.http.used_header = parse.used_header(limit)
        self._limits_known = True

    async def _learn_limits(self, venue_symbol: str) -> None:
        """Before paging at full speed, ask what full speed is: the published figures have changed before."""
        if self._limits_known:
            return
        try:
            info = await self.http.get(
                "/api/v3/exchangeInfo",
                lambda answer: parse.parse_info(answer.body),
                params={"symbol": venue_symbol},
                weight=_INFO_WEIGHT,
                max_bytes=_ONE_SYMBOL,
            )
        except VenueError as error:
            if not error.permanent and not isinstance(error, MalformedAnswer):
                raise
            return  # this one symbol is bad; its own page request will say so to whoever asked
        await self._take_limits(info)

    # Bars

    async def bars(self, plan: FetchPlan, *, archive: bool = True) -> AsyncGenerator[BarsAnswer, None]:
        """Fetch the plan's spans; see Venue.bars."""
        async with aclosing(self.bars_many([plan], archive=archive)) as answers:
            async for answer in answers:
                yield answer

    async def bars_many(
        self,
        plans: list[FetchPlan],
        *,
        archive: bool = True,
        on_error: Callable[[FetchPlan, VenueError], None] | None = None,
    ) -> AsyncGenerator[BarsAnswer, None]:
        """Fetch many plans concurrently, read ahead only as far as memory stays small.

        Answers of one plan come in time order. With ``on_error``, a plan that fails is reported there and left, and the
        others go on; without, the first failure is raised.
        """
        if not plans:
            return
        try:
            settled = await self.server_time() - self.traits.settle_delay
            await self._learn_limits(plans[0].venue_symbol)
        except VenueError as error:
            if on_error is None:
                raise
            for plan in plans:
                on_error(plan, error)
            return

        def failed(job: Job[int, list[BarsAnswer]], error: Exception) -> FailureAction:
            return judge_failure(plans[job.key], job.span, error, on_error)

        answers = prefetch(
            (job for place, plan in enumerate(plans) for job in self._requests.jobs(place, plan, settled, archive)),
            max_jobs=4 * self.policy.concurrency,
            max_rows=_ROWS_AHEAD,
            failed=failed,
        )
        async with aclosing(answers):
            async for several in answers:
                for answer in several:
                    yield answer

    async def _page(
        self, plan: FetchPlan, start: datetime, end: datetime
    ) -> tuple[pl.DataFrame, list[RejectedRow], datetime]:
        params: Params = {
            "symbol": plan.venue_symbol,
            "interval": str(plan.timeframe),
            "startTime": _ms(start),
            "endTime": _ms(end) - 1,  # inclusive there, exclusive here
            "limit": PAGE,
        }

        def decode(answer: HttpResponse) -> tuple[pl.DataFrame, list[RejectedRow], datetime]:
            stated = self._venue_time(answer.sent)
            rows, unread = parse.parse_klines(answer.body)
            span = _ms(start), _ms(end)
            frame, refused = parse.frame_of_klines(rows, plan.instrument, plan.timeframe, stated, span)
            found = [*unread, *refused]
            return require_all_rows((frame, found, stated), found)

        await self._anchor_clock()
        most = rows_bound(min(PAGE, plan.timeframe.count(start, end)))
        return await self.http.get("/api/v3/klines", decode, params=params, weight=_KLINES_WEIGHT, max_bytes=most)

    # Trades

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All aggregate trades of ``[start, end)``, paged by id; ids are those of aggregate trades."""

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

    # The venue's clock between two looks at it

    async def _anchor_clock(self) -> None:
        now = time.monotonic()
        if self._clock is None:
            await self.server_time()
        elif now - self._clock[0] > _REANCHOR and now - self._asked > _REANCHOR:
            self._asked = now  # one of the pages that come by asks, not all of them
            await self.server_time()

    def _venue_time(self, monotonic: float) -> datetime:
        """The venue's time at a moment of our monotonic clock: what a bar's revision is stated in."""
        if self._clock is None:
            raise VenueUnavailable(f"{self.name}: its clock is not known yet")
        sent, stated = self._clock
        return _moment(stated + (monotonic - sent) * 1000)


def _explain(answer: HttpResponse) -> VenueError | None:
    """Binance's own error code, where the body has one."""
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


def _read_time(answer: HttpResponse) -> tuple[float, float]:
    """(monotonic time of the request, venue time in ms)."""
    return answer.sent, float(parse.parse_server_time(answer.body))


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(ms))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
