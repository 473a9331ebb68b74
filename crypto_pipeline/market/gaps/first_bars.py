"""The begin of a venue's history of an instrument, for each timeframe.

A venue may keep wider bars of an instrument for longer than its 1m bars. Days before the first minute are then not
listed in 1m only; their wider bars can be requested.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from crypto_pipeline.market.timeframes import Timeframe, require_utc


@dataclass(frozen=True, slots=True)
class FirstBars:
    """The first bars of one instrument. All times are UTC open times.

    ``listed`` is the open time of the first bar that is known in no particular width; ``stated`` has the first bar of
    each timeframe for which the venue was asked.
    """

    listed: datetime | None = None
    stated: Mapping[Timeframe, datetime] = field(default_factory=dict)

    @classmethod
    def read(cls, listed: datetime | None, text: str | None) -> FirstBars:
        """From a row of ``market.listings``: ``text`` is the JSON of ``first_bars``."""
        stated = json.loads(text or "{}")
        return cls(
            listed, {Timeframe(name): require_utc(datetime.fromisoformat(first)) for name, first in stated.items()}
        )

    def of(self, timeframe: Timeframe) -> datetime | None:
        """Open time of the venue's own first bar of this width; None: not known."""
        if (first := self.stated.get(timeframe)) is not None:
            return first
        return timeframe.floor(self.listed) if self.listed is not None else None

    def expected(self, timeframe: Timeframe) -> datetime | None:
        """Open time of the first possible bar: the venue's own, or one rolled up from finer bars; None: unknown."""
        own = self.of(timeframe)
        finer = [first for one in Timeframe if one.minutes < timeframe.minutes and (first := self.stated.get(one))]
        return min([*([own] if own is not None else []), *map(timeframe.ceil, finer)], default=None)

    def begin_together(self, lower: Timeframe, timeframe: Timeframe) -> bool:
        """Whether both widths begin in the same window of ``timeframe``, so that it is complete though its first parts
        were never listed. True where it is not known."""
        first, own = self.expected(lower), self.of(timeframe)
        return first is None or own is None or timeframe.floor(first) == own
