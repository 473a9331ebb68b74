"""The retry rule of all database access: repeat while PostgreSQL is down, for a limited time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crypto_pipeline.store.database.pg_errors import is_transient

if TYPE_CHECKING:
    from tenacity import RetryCallState

log = logging.getLogger(__name__)
T = TypeVar("T")


def retrying(attempt: Callable[[], T], patience: float) -> T:
    """The result of ``attempt``, repeated while the database is down, for at most ``patience`` seconds.

    Pauses double from 0.05 s to 1 s, and up to 0.2 s are added at random. Raises the last error.
    """
    import tenacity  # imported after the first failure only: the import takes longer than a small read

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential(multiplier=0.05, max=1.0) + tenacity.wait_random(0, 0.2),
        before_sleep=_log_retry,
        reraise=True,
    )(attempt)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    pause = state.next_action.sleep if state.next_action is not None else 0.0
    log.info("%s; attempt %d in %.1f s", error, state.attempt_number + 1, pause)
