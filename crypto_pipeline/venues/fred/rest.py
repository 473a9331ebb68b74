"""FRED over REST: facts of series, vintages within FRED's limits, releases; without a key the plain CSV files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Any, TypeVar

from crypto_pipeline.addresses import base_url
from crypto_pipeline.market.macro.vintages import Vintage, join_vintages
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues.client.bodies import rows_bound
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.http import HttpClient, Params, RequestPolicy
from crypto_pipeline.venues.client.responses import HttpResponse, NotFound, require_all_rows
from crypto_pipeline.venues.fred import parse
from crypto_pipeline.venues.protocol import (
    BudgetLimit,
    MalformedAnswer,
    RejectedRow,
    RequestBudget,
    UnknownSymbol,
    VenueError,
)

T = TypeVar("T")

_URL, _CSV_URL = "https://api.stlouisfed.org", "https://fred.stlouisfed.org"
#: FRED answers two requests a second. These are seconds between two of ours, a little more than half of one.
_LIMIT, _APART = BudgetLimit(2, 1.0, 1.0), 0.55
#: Rows of one answer: observations, days of vintages, days of releases; and vintages that one request may cover.
_MAX_ROWS, _MAX_DAYS, _MAX_VINTAGES = 100_000, 10_000, 2_000
#: Bytes of a row of observations, at most.
_ROW_BYTES = 160
#: Days of the release calendar that are asked for when the earlier ones are stored.
_NEWEST_DAYS = 1_000
_FIRST_DAY = date(1776, 7, 4)
_GET_A_KEY = "get one at https://fredaccount.stlouisfed.org/apikeys and set CRYPTO_PIPELINE_FRED_API_KEY"
#: Any key that is well formed is a key of the replay exchange.
_REPLAY_KEY = "0" * 32


class KeyRefused(VenueError):  # noqa: N818  (reads as the fact it states)
    """FRED does not accept the key."""

    permanent = True


class NoVintages(VenueError):  # noqa: N818
    """FRED has the series, and no vintages of it."""

    permanent = True


@dataclass(frozen=True, slots=True)
class ObservationsAnswer:
    """Every vintage in the days that were asked for, joined; rows that cannot be are in ``refused``."""

    vintages: list[Vintage]
    refused: tuple[RejectedRow, ...]


class FredClient:
    """FRED with ``key``, or only its CSV files where that is None. Use from one event loop at a time."""

    name = "fred"

    def __init__(
        self,
        url: str = _URL,
        csv_url: str = _CSV_URL,
        key: str | None = None,
        budget: RequestBudget | None = None,
        *,
        policy: RequestPolicy | None = None,
        max_rows: int = _MAX_ROWS,
        max_vintages: int = _MAX_VINTAGES,
    ) -> None:
        policy = replace(policy or RequestPolicy(), concurrency=1)
        shared = _EvenPace(budget or MemoryBudget(_LIMIT), _APART)
        hidden = {"api_key": key} if key is not None else {}
        self.http = HttpClient(self.name, url, budget=shared, policy=policy, explain=_explain, hidden=hidden)
        self.files = HttpClient(self.name, csv_url, budget=shared, policy=policy)
        self.has_key = key is not None
        self._max_rows, self._max_vintages = max_rows, max_vintages
        self._limit_told = False

    async def series(self, series_id: str) -> parse.SeriesFacts:
        """Facts of a series. Raises UnknownSymbol, KeyRefused or another VenueError."""
        return await self._get("/fred/series", lambda answer: parse.parse_series(answer.body), series_id=series_id)

    async def release(self, series_id: str) -> tuple[int, str]:
        """Number and name of the release that publishes a series. Raises VenueError."""
        return await self._get(
            "/fred/series/release", lambda answer: parse.parse_release(answer.body), series_id=series_id
        )

    async def release_dates(self, release_id: int, *, everything: bool) -> list[date]:
        """Days of a release, past and to come: all of them, or the newest thousand. Raises VenueError."""
        asked = {
            "release_id": release_id, "include_release_dates_with_no_data": "true", "sort_order": "desc",
            "realtime_start": str(_FIRST_DAY), "realtime_end": str(parse.OPEN_END),
        }  # fmt: skip
        if not everything:
            page = await self._days("/fred/release/dates", parse.parse_release_dates, limit=_NEWEST_DAYS, **asked)
            return sorted(page.days)
        return await self._all_days("/fred/release/dates", parse.parse_release_dates, **asked)

    async def vintage_dates(self, series_id: str, since: date = _FIRST_DAY) -> list[date]:
        """First days of the vintages from ``since`` on. Raises NoVintages or another VenueError."""
        return await self._all_days(
            "/fred/series/vintagedates", parse.parse_vintage_dates,
            series_id=series_id, realtime_start=str(since), realtime_end=str(parse.OPEN_END),
        )  # fmt: skip

    async def observations(self, series_id: str, vintages: Sequence[date]) -> ObservationsAnswer:
        """Every value from the first of ``vintages`` (in order) until now, with the days in which it was the newest.

        One request covers at most the vintages that FRED allows; neighbouring requests share a day, so that no vintage
        is lost between them. Raises VenueError.
        """
        found: list[Vintage] = []
        refused: list[RejectedRow] = []
        for start, end in _spans(vintages, self._max_vintages):
            answer = await self._observations(series_id, start, end)
            found += answer.vintages
            refused += answer.refused
        good, contradictory = parse.without_contradictions(join_vintages(found))
        if contradictory and len(contradictory) > len(good) // 2:
            raise MalformedAnswer(f"fred {series_id}: {contradictory[0].reason}")
        return ObservationsAnswer(good, (*refused, *contradictory))

    async def current(self, series_id: str) -> ObservationsAnswer:
        """The newest values alone, of a series without vintages. Raises VenueError."""
        return await self._observations(series_id, None, parse.OPEN_END)

    async def csv(self, series_id: str) -> tuple[list[tuple[date, float | None]], list[RejectedRow]]:
        """Period and newest value of every row of the plain CSV, which needs no key. Raises VenueError."""
        await self._tell_limit()
        try:
            return await self.files.get(
                "/graph/fredgraph.csv",
                lambda answer: _whole(parse.parse_csv(answer.body, series_id)),
                params={"id": series_id},
                weight=1,
                max_bytes=rows_bound(self._max_rows, 64),
            )
        except NotFound:
            raise _unknown(series_id) from None

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()
        await self.files.close()

    async def _observations(self, series_id: str, start: date | None, end: date) -> ObservationsAnswer:
        """All pages of one request. Raises MalformedAnswer where a page repeats rows of earlier ones, or more rows came
        than are stated: values may have changed between two pages."""
        days = {"realtime_start": str(start), "realtime_end": str(end)} if start is not None else {}
        found: list[Vintage] = []
        refused: list[RejectedRow] = []
        known: set[tuple[date, date]] = set()
        offset = 0
        while True:
            page = await self._get(
                "/fred/series/observations", lambda answer: _all_rows(parse.parse_observations(answer.body, end)),
                self._max_rows, series_id=series_id, limit=self._max_rows, offset=offset, **days,
            )  # fmt: skip
            keys = {(one.period, one.start) for one in page.vintages}
            offset += page.rows
            if not keys - known or offset > page.count:
                raise MalformedAnswer(f"fred {series_id}: {page.count} observations are stated and {len(known)} came")
            known |= keys
            found += page.vintages
            refused += page.refused
            if offset == page.count:
                return ObservationsAnswer(found, tuple(refused))

    async def _all_days(self, path: str, read: Callable[[bytes], parse.DayPage], **asked: Any) -> list[date]:
        days: list[date] = []
        while True:
            page = await self._days(path, read, limit=_MAX_DAYS, offset=len(days), **asked)
            days += page.days
            if len(days) >= page.count or not page.days:
                return sorted(set(days))

    async def _days(self, path: str, read: Callable[[bytes], parse.DayPage], **asked: Any) -> parse.DayPage:
        return await self._get(path, lambda answer: read(answer.body), _MAX_DAYS, **asked)

    async def _get(self, path: str, decode: Callable[[HttpResponse], T], rows: int = 0, **asked: Any) -> T:
        await self._tell_limit()
        params: Params = {"file_type": "json", **asked}
        most = rows_bound(rows, _ROW_BYTES)
        try:
            return await self.http.get(path, decode, params=params, weight=1, max_bytes=most)
        except UnknownSymbol as error:
            raise _unknown(asked.get("series_id", "")) from error

    async def _tell_limit(self) -> None:
        if not self._limit_told:
            await self.http.budget.limit(_LIMIT)
            self._limit_told = True


class _EvenPace:
    """A budget that also keeps requests of this process so many seconds apart."""

    def __init__(self, inner: RequestBudget, interval: float) -> None:
        self._inner, self._interval, self._next = inner, interval, 0.0

    async def acquire(self, weight: int) -> None:
        """See RequestBudget.acquire."""
        now = time.monotonic()
        wait, self._next = self._next - now, max(now, self._next) + self._interval
        if wait > 0:
            await asyncio.sleep(wait)
        await self._inner.acquire(weight)

    async def report(self, used: int) -> None:
        """See RequestBudget.report."""
        await self._inner.report(used)

    async def limit(self, limit: BudgetLimit) -> None:
        """See RequestBudget.limit."""
        await self._inner.limit(limit)

    async def pause(self, seconds: float) -> None:
        """See RequestBudget.pause."""
        await self._inner.pause(seconds)


def make_fred(settings: Settings, budget: RequestBudget | None = None) -> FredClient:
    """The client of the source of macro series that the settings name."""
    policy = RequestPolicy(timeout=settings.request_timeout, attempts=settings.request_attempts)
    given = settings.fred_api_key
    key = given.get_secret_value() if given is not None else None
    if settings.macro_source == "replay":
        url = base_url(settings.host, settings.replay_port)
        return FredClient(url, url, key or _REPLAY_KEY, budget, policy=policy)
    url = settings.fred_url
    # Another host serves the plain files; a test server at fred_url serves both.
    csv_url = _CSV_URL if url.rstrip("/") == _URL else url
    return FredClient(url, csv_url, key, budget, policy=policy)


def _spans(vintages: Sequence[date], most: int) -> Iterator[tuple[date, date]]:
    """Days from and to which is asked: neighbours share the first day of a vintage, the last one is open."""
    if not vintages:
        return
    starts = [*vintages[: -1 : max(1, most - 1)]] or [vintages[0]]
    yield from pairwise([*starts, parse.OPEN_END])


def _explain(response: HttpResponse) -> VenueError | None:
    """FRED's refusals: 400 and a text for everything that is wrong with a question."""
    text = parse.error_text(response.body)
    if response.status != 400 or not text:
        return None
    low = text.lower()
    if "api_key" in low:
        return KeyRefused(f"FRED refuses the key ({text.partition('Read http')[0].strip()}): {_GET_A_KEY}")
    if "alfred" in low:
        return NoVintages(f"FRED has no vintages of this series ({text})")
    if "series does not exist" in low or "series_id" in low:
        return UnknownSymbol(text)
    return VenueError(f"FRED refuses the request: {text}", permanent=True)


def _unknown(series_id: str) -> UnknownSymbol:
    return UnknownSymbol(
        f"FRED has no series {series_id!r}: find its id at https://fred.stlouisfed.org and correct "
        "CRYPTO_PIPELINE_MACRO_SERIES"
    )


def _all_rows(page: parse.ObservationPage) -> parse.ObservationPage:
    return require_all_rows(page, page.refused)


def _whole(
    read: tuple[list[tuple[date, float | None]], list[RejectedRow]],
) -> tuple[list[tuple[date, float | None]], list[RejectedRow]]:
    return require_all_rows(read, read[1])
