"""What is mirrored: series of bars, features and labels, and the span of days that one file of each holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from crypto_pipeline.market.bars import PRICE_COLUMNS
from crypto_pipeline.market.timeframes import Timeframe

Dataset = Literal["bars", "features", "labels"]
#: ``alone``: a file per instrument and closed month, of the running month per closed week or day with all instruments;
#: ``days``: the same with all instruments in a file of the month; ``month``: a file per month from its first day on;
#: ``year``: a file per closed year, of the running year per month.
Grain = Literal["alone", "days", "month", "year"]

#: Grain of bars narrower than so many minutes; wider ones have a file per year.
_GRAINS: tuple[tuple[int, Grain], ...] = ((5, "alone"), (60, "days"), (1440, "month"))
#: Columns of bars that files of one instrument have as plain values, which are read without a decoder.
PLAIN_COLUMNS = (*PRICE_COLUMNS, "volume")


@dataclass(frozen=True, slots=True, order=True)
class MirrorSeries:
    """One series of the mirror: of bars a timeframe, of labels ``strategy/params_hash``, of features ``''``."""

    dataset: Dataset
    series: str = ""

    @classmethod
    def of_bars(cls, timeframe: Timeframe) -> MirrorSeries:
        """The bars of a timeframe."""
        return cls("bars", str(timeframe))

    @property
    def timeframe(self) -> Timeframe:
        """The timeframe of bars. Raises ValueError for features and labels."""
        return Timeframe(self.series)

    @property
    def cell_days(self) -> int:
        """Number of days that a cell covers."""
        return self.timeframe.cell_days if self.dataset == "bars" else 1

    @property
    def grain(self) -> Grain:
        """Which days and instruments share a file."""
        if self.dataset == "bars":
            return next((grain for below, grain in _GRAINS if self.timeframe.minutes < below), "year")
        return "alone" if self.dataset == "features" else "month"

    def __str__(self) -> str:
        return f"{self.dataset} {self.series}".rstrip()


@dataclass(frozen=True, slots=True)
class FileSpan:
    """The cells of one file: days ``[first_day, end_day)`` of one instrument (its number), or of all (None)."""

    of: MirrorSeries
    instrument_id: int | None
    first_day: date
    end_day: date

    @property
    def plain(self) -> tuple[str, ...]:
        """Columns that its file has as plain values."""
        return PLAIN_COLUMNS if self.of.dataset == "bars" and self.instrument_id is not None else ()

    def __str__(self) -> str:
        whom = "all instruments" if self.instrument_id is None else f"instrument {self.instrument_id}"
        return f"{self.of} of {whom}, {self.first_day} to {self.end_day}"
