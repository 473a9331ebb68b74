"""The answer of a cache: a value, and the time at which it was known to be right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import polars as pl

from crypto_pipeline.reading.display.tabular import Tabular

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Tabular, Generic[T]):
    """``value`` is what the table contained at ``as_of`` (by this machine's clock, UTC), or later.

    ``stale``: the database could not be asked, so this is the last known value. ``hit``: nothing was computed.
    ``version``: a text that changes whenever the bars of the question change; None where there is none.
    Where the value is a frame, ``to_pandas()`` and ``to_arrow()`` give it as such.
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

    def to_polars(self) -> pl.DataFrame:
        """The frame. Raises TypeError where the value is none."""
        if not isinstance(self.value, pl.DataFrame):
            raise TypeError(f"the value is no frame, but {type(self.value).__name__}: use .value")
        return self.value

    def __repr__(self) -> str:
        return Tabular.__repr__(self) if isinstance(self.value, pl.DataFrame) else f"<{self.headline()}>"

    def headline(self) -> str:
        """The shape of the frame, and how old the answer is."""
        frame = self.value if isinstance(self.value, pl.DataFrame) else None
        of = type(self.value).__name__ if frame is None else f"{frame.height:,} rows, {frame.width} columns"
        known = f"as of {self.as_of:%Y-%m-%d %H:%M:%S}Z, {self.age_s:.1f} s old"
        notes = [", from the cache"] * self.hit + [", stale: the database is away"] * self.stale
        return f"Answer: {of}, {known}{''.join(notes)}"
