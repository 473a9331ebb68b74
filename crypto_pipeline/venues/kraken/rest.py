"""Kraken spot over REST: the newest 720 bars of a timeframe from OHLC, older 1m bars computed from trades."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property, partial

from crypto_pipeline.market.sanity import MAX_MS
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues.client.bar_jobs import clip_spans, page_spans
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.prefetch import Job
from crypto_pipeline.venues.client.responses import HttpResponse, require_all_rows
from crypto_pipeline.venues.client.rest_venue import BarsJob, RestVenue, refused_job
from crypto_pipeline.venues.kraken import parse
from crypto_pipeline.venues.kraken.minutes import minutes_of_trades
from crypto_pipeline.venues.kraken.names import rest_name
from crypto_pipeline.venues.kraken.trades import fetch_trades
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    FetchPlan,
    Listing,
    MalformedAnswer,
    RejectedRow,
    TradesAnswer,
    VenueError,
    VenueStatus,
    VenueTraits,
)
from crypto_pipeline.venues.trade_rows import TradePage, frame_of_trades

#: Number of ended bars that OHLC returns, for any request.
KEPT = 720
#: Minutes that one job computes from trades.
_WINDOW = 360
#: Greatest size in bytes of the list of all pairs (a kilobyte each); trades of one answer.
_ALL_PAIRS, _TRADES = 16 * 1024 * 1024, 1000
#: Timeframes of OHLC whose bars start at our times; Kraken's weeks do not start on Monday.
_TIMEFRAMES = frozenset(each for each in Timeframe if each.minutes in (1, 5, 15, 30, 60, 240, 1440))

#: A page of trades, and the cursor of the next one.
_Page = tuple[TradePage[parse.KrakenTrade], int]


class KrakenSpot(RestVenue):
    """REST client of Kraken spot. Trades and OHLC have a request limit per pair.

    Source: https://docs.kraken.com/api. ``timeout`` and ``pair_pause`` are in seconds.
    """

    traits = VenueTraits(timeframes=_TIMEFRAMES, states_empty_bars=True, contiguous_trade_ids=True, kept_bars=KEPT - 2)
    default_url = "https://api.kraken.com"
    default_name = "kraken"
    limit = (1, 1.0)
    #: Seconds between two requests of one pair.
    pair_pause = 1.0
    time_path = "/0/public/Time"

    @cached_property
    def _turns(self) -> dict[str, float]:
        """When each pair may be asked again, monotonic time."""
        return {}

    def refusal(self, answer: HttpResponse) -> VenueError | None:
        """See RestVenue.refusal."""
        return parse.read_refusal(answer)

    def read_time(self, answer: HttpResponse) -> float:
        """See RestVenue.read_time."""
        return parse.parse_server_time(answer.body)

    async def status(self) -> VenueStatus:
        """Request the system's state once. An unreachable venue is a result, not an error."""
        try:
            said = await self.http.get_once(
                "/0/public/SystemStatus", lambda answer: parse.parse_status(answer.body), weight=1
            )
        except VenueError as error:
            return VenueStatus(reachable=False, time=None, detail=str(error))
        return VenueStatus(reachable=said != "maintenance", time=None, detail=said)

    async def listings(self) -> list[Listing]:
        """All pairs. Kraken does not state when a pair was listed; use ``listed_since``. Raises VenueError."""
        await self.tell_limit()
        return await self.http.get(
            "/0/public/AssetPairs", lambda answer: parse.parse_pairs(answer.body), weight=1, max_bytes=_ALL_PAIRS
        )

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """The minute (UTC) of the pair's first trade."""
        page, _ = await self._page(venue_symbol, 0, 1)
        if page.refused and not page.rows:
            raise MalformedAnswer(page.refused[0].reason)
        return Timeframe.M1.floor(from_unix_ms(page.rows[0].ms)) if page.rows else None

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time (UTC) of the newest ended 1m bar."""
        (_, last, _), _ = await self._ohlc(venue_symbol, Timeframe.M1, None)
        return from_unix_ms(last * 1000) if last else None

    # Bars

    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """One job for the newest bars from OHLC; older 1m bars come from trades, one request per second and pair."""
        frame = plan.timeframe
        reach = frame.floor(settled) - (KEPT - 2) * frame.delta
        spans = list(clip_spans(plan, settled))
        old = [(start, min(end, reach)) for start, end in spans if start < reach]
        new = [(max(start, reach), end) for start, end in spans if end > reach]
        if frame is Timeframe.M1:
            for start, end in old:
                for begin, until in page_spans(frame, start, end, _WINDOW):
                    yield Job(key, _WINDOW, partial(self._rebuilt, plan, begin, until), (begin, until))
        if new:
            yield Job(key, KEPT, partial(self._stated, plan, new), (new[0][0], new[-1][1]))
        if old and frame is not Timeframe.M1:
            yield refused_job(key, f"{self.name} keeps only the newest {KEPT} bars of {frame}: none before {reach}")

    async def _stated(self, plan: FetchPlan, spans: list[tuple[datetime, datetime]]) -> list[BarsAnswer]:
        frame = plan.timeframe
        (rows, _, unread), sent = await self._ohlc(plan.venue_symbol, frame, spans[0][0] - frame.delta)
        stated = await self.venue_time(sent)
        # With as many rows as OHLC keeps, older bars exist but are not sent; with fewer rows, there are no older bars.
        first = min((row[0] for row in rows if row[0] * 1000 < MAX_MS), default=0)
        begins = from_unix_ms(first * 1000) if len(rows) + len(unread) >= KEPT else None
        answers: list[BarsAnswer] = []
        for start, end in spans:
            cut = start if begins is None or begins <= start else min(begins, end)
            if start < cut:
                if frame is not Timeframe.M1:
                    raise VenueError(f"{self.name} {plan.venue_symbol}: bars of {frame} before {begins} are gone")
                answers += await self._rebuilt(plan, start, cut)
            if cut < end:
                low, high = unix_ms(cut), unix_ms(end)
                # the answer begins before the first span and ends now; a time in another unit is in no span
                inside = [row for row in rows if low <= row[0] * 1000 < high or row[0] * 1000 >= MAX_MS]
                bars, refused = parse.frame_of_ohlc(inside, plan, stated, (low, high))
                found = (*(one for one in unread if one.ms is None or low <= one.ms < high), *refused)
                answers.append(BarsAnswer(plan.instrument, frame, cut, end, bars, stated, "rest", found))
        return answers

    async def _rebuilt(self, plan: FetchPlan, start: datetime, end: datetime) -> list[BarsAnswer]:
        """1m bars that OHLC no longer has, computed from trades; they equal the venue's own bars."""
        sent = time.monotonic()
        refused: list[RejectedRow] = []
        before, inside, after = await self._span(plan.venue_symbol, start, end, refused)
        stated = await self.venue_time(sent)
        bars = minutes_of_trades(plan.instrument, start, end, before, inside, after, stated)
        return [BarsAnswer(plan.instrument, plan.timeframe, start, end, bars, stated, "rest", tuple(refused))]

    # Trades

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All trades of ``[start, end)`` (UTC), with the ids before and after them. Raises VenueError."""
        refused: list[RejectedRow] = []
        before, inside, after = await self._span(venue_symbol, require_utc(start), require_utc(end), refused)
        frame = frame_of_trades(inside, instrument)
        ids = (before.trade_id if before else None, after.trade_id if after else None)
        return TradesAnswer(start, end, frame, *ids, refused=tuple(refused), instrument=instrument)

    async def _span(
        self, venue_symbol: str, start: datetime, end: datetime, refused: list[RejectedRow]
    ) -> tuple[parse.KrakenTrade | None, list[parse.KrakenTrade], parse.KrakenTrade | None]:
        return await fetch_trades(partial(self._page, venue_symbol), unix_ms(start), unix_ms(end), refused)

    async def _page(self, venue_symbol: str, since: int, count: int = _TRADES) -> _Page:
        def read(answer: HttpResponse) -> _Page:
            found, cursor = parse.parse_trades(answer.body)
            return require_all_rows((found, cursor), found.refused)

        await self._turn(f"Trades {venue_symbol}")
        return await self.http.get(
            "/0/public/Trades",
            read,
            params={"pair": rest_name(venue_symbol), "since": str(since), "count": count},
            max_bytes=rows_bound(count),
        )

    async def _ohlc(
        self, venue_symbol: str, timeframe: Timeframe, since: datetime | None
    ) -> tuple[tuple[list[parse.OhlcRow], int, list[RejectedRow]], float]:
        params: dict[str, str | int] = {"pair": rest_name(venue_symbol), "interval": timeframe.minutes}
        if since is not None:
            params["since"] = unix_ms(since) // 1000 - 1

        def read(answer: HttpResponse) -> tuple[tuple[list[parse.OhlcRow], int, list[RejectedRow]], float]:
            found = parse.parse_ohlc(answer.body)
            return require_all_rows((found, answer.sent), found[2])

        await self._turn(f"OHLC {venue_symbol}")
        return await self.http.get(
            "/0/public/OHLC",
            read,
            params=params,
            max_bytes=rows_bound(KEPT + 2),
        )

    async def _turn(self, what: str) -> None:
        """Wait until the next request for this pair is allowed: one per second, independent of other pairs."""
        now = time.monotonic()
        turn = max(now, self._turns.get(what, 0.0))
        self._turns[what] = turn + self.pair_pause
        if turn > now:
            await asyncio.sleep(turn - now)
