"""Reports of healing: the figures of a pass, for a run's metadata or a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe

#: Called as ``progress(stage, done, total)``; ``stage`` is for people, e.g. ``"fetch 1m"``.
Progress = Callable[[str, int, int], None]


#: Columns of a report's rows about bars that are still missing; the reason is in ``because``.
WAITING = ("gap_id", "instrument", "timeframe", "start", "end", "bars", "attempts", "next_attempt")
#: At most so many of these rows are in the JSON form.
_MOST = 100


def silent(stage: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""


@dataclass(slots=True)
class Counts:
    """Bars of one timeframe: what was written and what remains.

    Attributes:
        planned: Bars that were to be fetched.
        fetched: Bars that a venue or an archive gave.
        inserted: Bars that were not stored before.
        superseded: Bars that replaced a stored one.
        unchanged: Bars that were stored already.
        rejected: Bars that cannot be true.
        rebuilt_from_trades: Bars made from stored trades.
        explained: Absent bars that the ledger has a reason for.
        still_missing: Absent bars without a reason.
        stood_in: Bars taken from a venue that stands in for the first one.
        gaps: Runs of absent bars.
        gaps_filled: Those of them of which every bar is stored or explained by now.
    """

    planned: int = 0
    fetched: int = 0
    inserted: int = 0
    superseded: int = 0
    unchanged: int = 0
    rejected: int = 0
    rebuilt_from_trades: int = 0
    explained: int = 0
    still_missing: int = 0
    stood_in: int = 0
    gaps: int = 0
    gaps_filled: int = 0

    def add_write(self, result: object) -> None:
        """Take over the figures of one write."""
        for name in ("inserted", "superseded", "unchanged", "rejected"):
            setattr(self, name, getattr(self, name) + getattr(result, name))

    def add(self, other: Counts) -> None:
        """Take over the counts of another pass."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(slots=True)
class HealReport:
    """One pass over a span. ``problems`` are instruments that could not be asked, with the reason.

    ``waiting`` has the rows of the ledger about bars that are still missing (columns WAITING and ``because``).
    """

    counts: dict[Timeframe, Counts] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    waiting: list[pl.DataFrame] = field(default_factory=list)

    def of(self, timeframe: Timeframe) -> Counts:
        """The counts of one timeframe, made on first use."""
        return self.counts.setdefault(timeframe, Counts())

    @property
    def still_missing(self) -> int:
        """Bars of all timeframes that are expected, not stored and not explained."""
        return sum(counts.still_missing for counts in self.counts.values())

    @property
    def nothing_to_do(self) -> bool:
        """True when no bar was planned, fetched or rolled up."""
        return all(not any(asdict(counts).values()) for counts in self.counts.values())

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, timeframes by name."""
        return {
            "timeframes": {str(timeframe): asdict(counts) for timeframe, counts in self.counts.items()},
            "problems": self.problems,
            "still_missing": self.still_missing,
            "waiting": [_plain(row) for frame in self.waiting for row in frame.iter_rows(named=True)][:_MOST],
            "nothing_to_do": self.nothing_to_do,
        }


@dataclass(slots=True)
class ReconcileReport:
    """One reconciliation: windows compared per timeframe, how they ended."""

    compared: dict[str, int] = field(default_factory=dict)
    disagreed: int = 0
    resolved: int = 0
    disputed: int = 0
    superseded: int = 0
    #: windows over absent minutes: they differ from the venue's bars, which may contain more minutes
    incomparable: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, other: ReconcileReport) -> None:
        """Take over the figures of another pass."""
        for timeframe, bars in other.compared.items():
            self.compared[timeframe] = self.compared.get(timeframe, 0) + bars
        for name in ("disagreed", "resolved", "disputed", "superseded", "incomparable"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems.update(other.problems)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


def _plain(row: dict[str, object]) -> dict[str, object]:
    """A row with its times as ISO texts in UTC."""
    return {
        name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value for name, value in row.items()
    }
