"""Decides what a failed page means for the rest of its plan."""

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
    """Report a failed page to ``on_error``. An unreadable page costs its span; another error costs the plan."""
    if on_error is None or not isinstance(error, VenueError):
        return FailureAction.RAISE
    if isinstance(error, MalformedAnswer) and span is not None:
        on_error(replace(plan, spans=[span]), error)
        return FailureAction.SKIP
    on_error(plan, error)
    return FailureAction.DROP_GROUP
