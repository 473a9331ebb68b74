"""What a failed page of a plan means for the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from crypto_pipeline.venues.client.prefetch import FailureAction
from crypto_pipeline.venues.protocol import FetchPlan, MalformedAnswer, VenueError

OnError = Callable[[FetchPlan, VenueError], None]


def judge_failure(
    plan: FetchPlan, span: tuple[datetime, datetime] | None, error: Exception, on_error: OnError | None
) -> FailureAction:
    """Tell ``on_error`` what failed: a page that cannot be read costs its span alone, anything else the plan."""
    if on_error is None or not isinstance(error, VenueError):
        return FailureAction.RAISE
    if isinstance(error, MalformedAnswer) and span is not None:
        on_error(replace(plan, spans=[span]), error)
        return FailureAction.SKIP
    on_error(plan, error)
    return FailureAction.DROP_GROUP
