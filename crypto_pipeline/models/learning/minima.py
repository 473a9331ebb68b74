"""Whether there is enough to learn from and to judge on; where not, what is missing and when it will suffice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.models.events import days_covered
from crypto_pipeline.models.settings import Minima

#: Days after which nobody waits: no date is named.
_LONGEST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Shortage:
    """One minimum that is not met. ``suffices_at``: when it will be at the rate so far; None where time is no help."""

    what: str
    have: float
    needed: float
    suffices_at: datetime | None

    def __str__(self) -> str:
        when = self.suffices_at
        later = f"enough about {when:%Y-%m-%d} at the rate so far" if when else "not reached at the rate so far"
        return f"{self.have:g} of {self.needed:g} {self.what} ({later})"


@dataclass(frozen=True, slots=True)
class Insufficient:
    """There is no model because there is not enough data: the state ``insufficient_data``.

    ``suffices_at``: when the last of the shortages ends at the rate so far; None where one of them has no such time.
    """

    shortages: tuple[Shortage, ...]

    @property
    def suffices_at(self) -> datetime | None:
        """The latest time of all shortages, or None."""
        times = [each.suffices_at for each in self.shortages]
        return None if None in times else max(time for time in times if time is not None)

    def __str__(self) -> str:
        return "insufficient_data: " + "; ".join(str(each) for each in self.shortages)

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "status": "insufficient_data",
            "missing": [
                {
                    "what": each.what,
                    "have": each.have,
                    "needed": each.needed,
                    "suffices_at": each.suffices_at.isoformat() if each.suffices_at else None,
                }
                for each in self.shortages
            ],
            "suffices_at": self.suffices_at.isoformat() if self.suffices_at else None,
        }


def shortages(
    events: pl.DataFrame, train: Ints, holdout: Ints, span: tuple[datetime, datetime], minima: Minima
) -> tuple[Shortage, ...]:
    """The minima that ``events`` do not meet: rows ``train`` learn, rows ``holdout`` (of the ``span``) judge.

    Rates are those of all events so far, hold-out included: as many as came in these days come in the next. Where the
    events do not even fill the span of the hold-out, that time has to pass first.
    """
    learned, judged, (begin, end) = events[train], events[holdout], span
    days = max(days_covered(events), 1.0)
    width = (end - begin) / timedelta(days=1)
    first = max(width - days, 0.0)
    won = int(learned["y"].sum())
    share = float(events["y"].to_numpy().mean()) if events.height else math.nan
    rate = events.height / days
    counts = [
        ("training events", learned.height, minima.events, rate),
        ("training events that won", won, minima.of_each_class, rate * share),
        ("training events that lost", learned.height - won, minima.of_each_class, rate * (1 - share)),
        ("days of training events", round(days_covered(learned), 2), minima.days, 1.0),
    ]
    found = [
        Shortage(what, have, needed, _reached(end, first, needed - have, grows))
        for what, have, needed, grows in counts
        if have < needed
    ]
    if (names := learned["instrument"].n_unique()) < minima.instruments:
        found.append(Shortage("instruments with training events", names, minima.instruments, None))
    defaults, needed = int(judged["is_default"].sum()), minima.holdout_default_events
    if defaults < needed:
        rate = float(events["is_default"].sum()) / days
        when = _reached(end, 0.0, needed - defaults, rate) if rate * width >= needed else None
        found.append(Shortage("events of the default set in the hold-out", defaults, needed, when))
    return tuple(found)


def _reached(end: datetime, first: float, missing: float, per_day: float) -> datetime | None:
    """``end`` and the days that ``missing`` takes at a rate, after ``first`` days; None where that is for ever."""
    if not per_day > 0 or missing / per_day > _LONGEST_DAYS:
        return None
    return end + timedelta(days=first + missing / per_day)
