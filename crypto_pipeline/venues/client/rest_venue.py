"""Base of the REST clients of all venues: the venue's clock, its request limit, plans cut into jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypto_pipeline.market.bars import BarOrigin, conform, empty_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.venues.bar_rows import sift
from crypto_pipeline.venues.client.bar_jobs import judge_failure
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.http import HttpClient, RequestPolicy
from crypto_pipeline.venues.client.prefetch import FailureAction, Job, prefetch
from crypto_pipeline.venues.client.responses import HttpResponse
from crypto_pipeline.venues.protocol import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    RejectedRow,
    RequestBudget,
    VenueError,
    VenueStatus,
    VenueTraits,
    VenueUnavailable,
)

_ROWS_AHEAD = 400_000
_REANCHOR = 60.0

BarsJob = Job[int, list[BarsAnswer]]


class RestVenue(ABC):
    """REST client of a venue. Use it in one event loop at a time.

    ``base_url`` and ``name`` are the venue's own unless given. ``budget``: account of request weight, by default one of
    this client. ``share``: of what the venue allows. ``headers`` go with every request. ``limit``: what the venue
    allows this client, if not what it allows all.
    """

    traits: VenueTraits
    default_url: ClassVar[str]
    default_name: ClassVar[str]
    #: The venue's request limit: requests per window of seconds.
    limit: ClassVar[tuple[int, float]]
    time_path: ClassVar[str]

    def __init__(
        self,
        base_url: str | None = None,
        budget: RequestBudget | None = None,
        *,
        name: str | None = None,
        share: float = 0.9,
        policy: RequestPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        limit: tuple[int, float] | None = None,
    ) -> None:
        self.name = self.default_name if name is None else name
        self.policy = policy or RequestPolicy()
        requests, window = limit or self.limit
        self._limit = BudgetLimit(requests, window, share)
        self._limit_told = False
        self.http = HttpClient(
            self.name,
            self.default_url if base_url is None else base_url,
            budget=budget or MemoryBudget(self._limit),
            policy=self.policy,
            explain=self.explain,
            refused=self.refusal,
            headers=headers,
        )
        #: When the venue's time was last requested (``time.monotonic``), and the time it stated (Unix ms).
        self.clock: tuple[float, float] | None = None

    def explain(self, answer: HttpResponse) -> VenueError | None:
        """The venue's own error of an answer with a status other than 200; None where it states none."""
        return None

    def refusal(self, answer: HttpResponse) -> VenueError | None:
        """The refusal that an answer with status 200 states; None where it states none."""
        return None

    @abstractmethod
    def read_time(self, answer: HttpResponse) -> float:
        """The venue's time (Unix ms) in the body at ``time_path``. Raises MalformedAnswer."""

    @abstractmethod
    def jobs(self, key: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        """Jobs of one plan in time order, up to the last bar that has ended by ``settled`` (UTC).

        ``archive``: whether files of the venue may be used.
        """

    async def prepare(self, plans: list[FetchPlan]) -> None:
        """Request facts that are needed before bars, such as the request limit. Raises VenueError."""
        await self.tell_limit()

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()

    async def server_time(self) -> datetime:
        """The venue's clock, UTC."""
        await self.tell_limit()
        self.clock = await self.http.get(self.time_path, self._timed, weight=1)
        return from_unix_ms(int(self.clock[1]))

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Empty, which means that all timeframes begin with the first trade."""
        return {}

    async def status(self) -> VenueStatus:
        """Request the status once, even while the breaker is open. An unreachable venue is a result, not an error."""
        try:
            _, stated = await self.http.get_once(self.time_path, self._timed, weight=1)
        except VenueError as error:
            return VenueStatus(reachable=False, time=None, detail=str(error))
        return VenueStatus(reachable=True, time=from_unix_ms(int(stated)), detail="answers")

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
        """Fetch many plans concurrently; see Venue.bars_many."""
        if not plans:
            return
        try:
            settled = await self.server_time() - self.traits.settle_delay
            await self.prepare(plans)
        except VenueError as error:
            if on_error is None:
                raise
            for plan in plans:
                on_error(plan, error)
            return

        def failed(job: BarsJob, error: Exception) -> FailureAction:
            return judge_failure(plans[job.key], job.span, error, on_error)

        found = prefetch(
            (job for place, plan in enumerate(plans) for job in self._jobs(place, plan, settled, archive)),
            max_jobs=4 * self.policy.concurrency,
            max_rows=_ROWS_AHEAD,
            failed=failed,
        )
        async with aclosing(found):
            async for several in found:
                for answer in several:
                    yield answer

    def _jobs(self, place: int, plan: FetchPlan, settled: datetime, archive: bool) -> Iterator[BarsJob]:
        if plan.timeframe in self.traits.timeframes:
            yield from self.jobs(place, plan, settled, archive)
        else:
            has = ", ".join(each for each in Timeframe if each in self.traits.timeframes)
            yield refused_job(place, f"{self.name} has no bars of {plan.timeframe}: it has {has}")

    async def tell_limit(self) -> None:
        """Give the venue's limit to the budget, before the first request."""
        if not self._limit_told:
            self._limit_told = True
            await self.http.budget.limit(self._limit)

    async def venue_time(self, monotonic: float) -> datetime:
        """The venue's time (UTC) at a value of ``time.monotonic``: the revision of bars that came then."""
        if self.clock is None or abs(monotonic - self.clock[0]) > _REANCHOR:
            await self.server_time()
        return self.time_by_clock(monotonic)

    def time_by_clock(self, monotonic: float) -> datetime:
        """The same from the venue's last stated time. Raises VenueUnavailable if there is none yet."""
        if self.clock is None:
            raise VenueUnavailable(f"{self.name}: its clock is not known yet")
        sent, stated = self.clock
        return from_unix_ms(int(stated + (monotonic - sent) * 1000))

    def _timed(self, answer: HttpResponse) -> tuple[float, float]:
        return answer.sent, self.read_time(answer)


def refused_job(key: int, text: str) -> BarsJob:
    """A job that raises a permanent VenueError with this text."""

    async def run() -> list[BarsAnswer]:
        raise VenueError(text, permanent=True)

    return Job(key, 0, run)


def bar_frame(
    rows: Sequence[Sequence[Any]],
    places: Mapping[str, int],
    instrument: str,
    timeframe: Timeframe,
    revision: datetime,
    span: tuple[int, int] | None = None,
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of rows, oldest first, and the rows that are not valid bars of ``span`` (Unix ms).

    A row begins with its open time in Unix seconds; ``places`` has the index of each value in a row. A column
    without an index is null.
    """
    times = _whole_numbers([row[0] * 1000 for row in rows])
    columns = {name: [row[place] for row in rows] for name, place in places.items()}
    counts = _whole_numbers(columns.pop("trade_count")) if "trade_count" in columns else None
    values = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    (times, values, counts), refused = sift((times, values, counts), instrument, timeframe, span)
    if not len(times):
        return empty_bars(), refused
    kept: dict[str, Any] = {"open_time": times, **values} | ({} if counts is None else {"trade_count": counts})
    frame = pl.DataFrame(kept).with_columns(
        pl.from_epoch("open_time", time_unit="ms").dt.replace_time_zone("UTC"),
        pl.lit(instrument).alias("instrument"),
        pl.lit(str(BarOrigin.VENUE_HISTORICAL)).alias("source"),
        pl.lit(True).alias("complete"),
        pl.lit(revision).alias("revision"),
    )
    return conform(frame), refused


def _whole_numbers(values: list[int]) -> NDArray[np.int64]:
    """The numbers as an int64 array; one that does not fit becomes -1, which all checks reject."""
    return np.array([value if -(2**62) < value < 2**62 else -1 for value in values], dtype=np.int64)
