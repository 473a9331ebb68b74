"""Jobs of bar plans: spans cut to ended bars and to pages, and the effect of a failed page on the rest of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.venues.client.prefetch import FailureAction
from crypto_pipeline.venues.protocol import FetchPlan, MalformedAnswer, VenueError

OnError = Callable[[FetchPlan, VenueError], None]


def judge_failure(
    plan: FetchPlan, span: tuple[datetime, datetime] | None, error: Exception, on_error: OnError | None
) -> FailureAction:
    """Report a failed page to ``on_error``. An unreadable page skips its span; another error skips the plan's rest."""
    if on_error is None or not isinstance(error, VenueError):
        return FailureAction.RAISE
    if isinstance(error, MalformedAnswer) and span is not None:
        on_error(replace(plan, spans=[span]), error)
        return FailureAction.SKIP
    on_error(plan, error)
    return FailureAction.DROP_GROUP


def clip_spans(plan: FetchPlan, settled: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The plan's spans on the timeframe's grid, in order, without overlap, up to the last bar ended by ``settled``."""
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


def page_spans(timeframe: Timeframe, start: datetime, end: datetime, most: int) -> Iterator[tuple[datetime, datetime]]:
    """Cut a span into windows of at most ``most`` bars, so that each request has a known span."""
    step = timeframe.delta * most
    while start < end:
        until = min(start + step, end)
        yield start, until
        start = until
