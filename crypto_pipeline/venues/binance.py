"""Binance spot: bars, aggregate trades, listings and status over REST, long spans from the file archive first."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.venues import binance_parse as parse
from crypto_pipeline.venues.ahead import Job, run_ahead
from crypto_pipeline.venues.http import Answer, HttpClient, Manners, Params
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    FetchPlan,
    Listing,
    RequestBudget,
    UnknownSymbol,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
)

log = logging.getLogger(__name__)

PAGE = 1000
_KLINES_WEIGHT, _TRADES_WEIGHT, _INFO_WEIGHT = 2, 4, 20
#: Rows begun and not yet taken by the consumer (about 100 bytes each).
_ROWS_AHEAD = 400_000
_TRANSIENT = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})
_REANCHOR = 60.0


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
        manners: Manners | None = None,
    ) -> None:
        self.name = name
        self.share = share
        self.archive_min_days = archive_min_days
        manners = manners or Manners(timeout=timeout, attempts=attempts, concurrency=concurrency)
        self.manners = manners
        self.http = HttpClient(
            name, base_url, budget=budget, manners=manners, used_header="X-MBX-USED-WEIGHT-1M", explain=_explain
        )
        self._clock: tuple[float, float] | None = None
        self._limits_known = False

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()

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
            "/api/v3/exchangeInfo", lambda answer: parse.parse_info(answer.body), weight=_INFO_WEIGHT
        )
        await self._take_limits(info)
        return parse.listings_of(info)

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """Open time of the first minute bar Binance ever had of the symbol."""
        params: Params = {"symbol": venue_symbol, "interval": "1m", "startTime": 0, "limit": 1}
        rows = await self.http.get(
            "/api/v3/klines", lambda answer: parse.parse_klines(answer.body), params=params, weight=_KLINES_WEIGHT
        )
        return _moment(float(rows[0, 0])) if len(rows) else None

    async def _take_limits(self, info: parse.ExchangeInfo) -> None:
        limit = parse.weight_limit(info, self.share)
        if limit is not None:
            await self.http.budget.limit(limit)
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
            )
        except UnknownSymbol:
            return  # the page request itself will say so, to whoever asked
        await self._take_limits(info)

    # Bars

    async def bars(self, plan: FetchPlan, *, archive: bool = True) -> AsyncIterator[BarsAnswer]:
        """Fetch the plan's spans; see Venue.bars."""
        async for answer in self.bars_many([plan], archive=archive):
            yield answer

    async def bars_many(
        self,
        plans: list[FetchPlan],
        *,
        archive: bool = True,
        on_error: Callable[[FetchPlan, VenueError], None] | None = None,
    ) -> AsyncIterator[BarsAnswer]:
        """Fetch many plans concurrently, read ahead only as far as memory stays small.

        Answers of one plan come in time order. With ``on_error``, a plan that fails is reported there and left, and the
        others go on; without, the first failure is raised.
        """
        if not plans:
            return
        settled = await self.server_time() - self.traits.settle_delay
        await self._learn_limits(plans[0].venue_symbol)

        def failed(place: int, error: Exception) -> bool:
            if on_error is None or not isinstance(error, VenueError):
                return False
            on_error(plans[place], error)
            return True

        answers = run_ahead(
            (job for place, plan in enumerate(plans) for job in self._jobs(place, plan, settled, archive)),
            max_jobs=4 * self.manners.concurrency,
            max_rows=_ROWS_AHEAD,
            failed=failed,
        )
        async for several in answers:
            for answer in several:
                yield answer

    def _jobs(
        self, place: int, plan: FetchPlan, settled: datetime, archive: bool
    ) -> Iterator[Job[int, list[BarsAnswer]]]:
        for start, end in clip_spans(plan, settled):
            for begin, until in page_spans(plan.timeframe, start, end):
                yield Job(place, PAGE, partial(self._rest, plan, begin, until))

    async def _rest(self, plan: FetchPlan, start: datetime, end: datetime) -> list[BarsAnswer]:
        """One window of at most PAGE bars."""
        frames: list[pl.DataFrame] = []
        stated_at = None
        cursor = start
        while cursor < end:
            frame, stated = await self._page(plan, cursor, end)
            stated_at = stated_at or stated
            if frame.is_empty():
                break
            frames.append(frame)
            # Fewer rows than there is room for may be a hole at the end, or a page cut short: only asking on tells.
            last: datetime = frame.item(-1, "open_time")
            cursor = last + plan.timeframe.delta
        bars = pl.concat(frames) if frames else parse.empty(plan)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, bars, stated_at or start, "rest")]

    async def _page(self, plan: FetchPlan, start: datetime, end: datetime) -> tuple[pl.DataFrame, datetime]:
        params: Params = {
            "symbol": plan.venue_symbol,
            "interval": str(plan.timeframe),
            "startTime": _ms(start),
            "endTime": _ms(end) - 1,  # inclusive there, exclusive here
            "limit": PAGE,
        }

        def decode(answer: Answer) -> tuple[pl.DataFrame, datetime]:
            stated = self._venue_time(answer.sent)
            rows = parse.parse_klines(answer.body)
            frame = parse.frame_of_klines(rows, plan.instrument, plan.timeframe, stated)
            return parse.inside(frame, plan, start, end), stated

        await self._anchor_clock()
        return await self.http.get("/api/v3/klines", decode, params=params, weight=_KLINES_WEIGHT)

    # The venue's clock between two looks at it

    async def _anchor_clock(self) -> None:
        if self._clock is None or time.monotonic() - self._clock[0] > _REANCHOR:
            await self.server_time()

    def _venue_time(self, monotonic: float) -> datetime:
        """The venue's time at a moment of our monotonic clock: what a bar's revision is stated in."""
        if self._clock is None:
            raise VenueUnavailable(f"{self.name}: its clock is not known yet")
        sent, stated = self._clock
        return _moment(stated + (monotonic - sent) * 1000)


def clip_spans(plan: FetchPlan, settled: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The plan's spans on the grid, in time order and merged, up to the last bar that is over by ``settled``."""
    frame = plan.timeframe
    limit = frame.floor(settled)
    done: datetime | None = None
    for start, end in sorted(plan.spans):
        begin, until = frame.ceil(require_utc(start)), min(frame.ceil(require_utc(end)), limit)
        if done is not None:
            begin = max(begin, done)
        if begin < until:
            yield begin, until
            done = until


def page_spans(timeframe: Timeframe, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Cut a span into windows of at most PAGE bars, so that every answer covers a span known beforehand."""
    step = timeframe.delta * PAGE
    while start < end:
        until = min(start + step, end)
        yield start, until
        start = until


def _explain(answer: Answer) -> VenueError | None:
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
        return parse.banned(text, error.msg)
    return VenueError(text, permanent=True)


def _read_time(answer: Answer) -> tuple[float, float]:
    """(monotonic time of the request, venue time in ms)."""
    return answer.sent, float(parse.parse_time(answer.body))


def _moment(ms: float) -> datetime:
    if ms > parse.MICROSECONDS_FROM:
        ms /= 1000
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(ms))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
