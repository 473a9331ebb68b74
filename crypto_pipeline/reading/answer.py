"""What a cache answers: the frame, and since when it is known to be what the table says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """``value`` is what the table said at ``as_of`` (by this machine's clock), or later.

    ``stale``: the database could not be asked, so this is the last that was known. ``hit``: nothing was computed.
    ``version``: another text whenever the bars of the question changed; None where only the bars themselves tell.
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
