"""The answer of a cache: a value, and the time at which it was known to be right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """``value`` is what the table contained at ``as_of`` (by this machine's clock, UTC), or later.

    ``stale``: the database could not be asked, so this is the last known value. ``hit``: nothing was computed.
    ``version``: a text that changes whenever the bars of the question change; None where there is none.
    """

    value: T
    as_of: datetime
    stale: bool = False
    hit: bool = False
    version: str | None = None

    @property
    def age_s(self) -> float:
        """Seconds since ``as_of``."""
        return max(0.0, (datetime.now(UTC) - self.as_of).total_seconds())
