"""How long bars and trades are kept, in tables and in the archive; pure arithmetic of months and days.

Bars leave their table by whole months (UTC) once the month's end is ``hot_days`` ago, and the archive once it is
``kept_days`` ago. Bars are expected for exactly the days that are kept: a month with one kept day stays complete, and
no bar that was removed is expected again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight


@dataclass(frozen=True, slots=True)
class Kept:
    """Days in the table, and days in table and archive together. None: for ever. Equal: never archived."""

    hot_days: int | None
    kept_days: int | None

    @property
    def archived(self) -> bool:
        """Whether rows that leave the table go into the archive."""
        return self.hot_days is not None and (self.kept_days is None or self.kept_days > self.hot_days)


@dataclass(frozen=True, slots=True)
class LookBack:
    """A part that reads bars or trades back from the tables alone.

    Attributes:
        who: Its name, for messages.
        timeframe: Of the bars; None: trades.
        days: How far back.
    """

    who: str
    timeframe: Timeframe | None
    days: float


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long each timeframe and trades are kept; the newest ``min_bars`` of every series stay in the table."""

    bars: Mapping[Timeframe, Kept]
    trades: Kept
    min_bars: int

    @classmethod
    def of(
        cls,
        hot_days: Mapping[str, int],
        kept_days: Mapping[str, int],
        trades_hot_days: int,
        trades_kept_days: int,
        min_bars: int,
    ) -> RetentionPolicy:
        """From settings; a timeframe that is not named, or has 0 days, is kept for ever. ValueError names a bad one."""
        for name in (*hot_days, *kept_days):
            Timeframe.parse(name)
        bars = {one: _kept(str(one), hot_days.get(one) or None, kept_days.get(one) or None) for one in Timeframe}
        return cls(bars, _kept("trades", trades_hot_days, max(trades_hot_days, trades_kept_days)), min_bars)

    def of_series(self, timeframe: Timeframe | None) -> Kept:
        """How long a timeframe, or trades (None), are kept."""
        return self.trades if timeframe is None else self.bars[timeframe]

    def hot_start(self, timeframe: Timeframe | None, now: datetime) -> datetime | None:
        """Midnight from which on all rows are still in the table; None: all rows are, for ever."""
        return _before(now, self.of_series(timeframe).hot_days)

    def kept_start(self, timeframe: Timeframe | None, now: datetime) -> datetime | None:
        """Midnight from which on everything is kept in table or archive, and so expected; None: for ever."""
        return _before(now, self.of_series(timeframe).kept_days)

    def check(self, look_backs: Iterable[LookBack]) -> None:
        """Raise ValueError naming every part that reads further back than the tables reach."""
        problems = []
        for one in look_backs:
            hot = self.of_series(one.timeframe).hot_days
            if hot is not None and hot < one.days:
                what = "trades" if one.timeframe is None else str(one.timeframe)
                fix = "KEEP_TRADES_DAYS" if one.timeframe is None else f'KEEP_HOT_DAYS={{"{what}": …}}'
                problems.append(
                    f"{one.who} reads {one.days:g} days of {what}, of which {hot} are kept in the table: "
                    f"raise CRYPTO_PIPELINE_{fix} to at least {-int(-one.days // 1)}"
                )
        if problems:
            raise ValueError("; ".join(problems))


def _kept(name: str, hot: int | None, kept: int | None) -> Kept:
    if hot is None and kept is not None:
        hot = kept
    if hot is not None and hot < 1:
        raise ValueError(f"{name} is to be kept {hot} days in its table: at least 1 is needed")
    if hot is not None and kept is not None and kept < hot:
        raise ValueError(
            f"{name} is to be kept {kept} days in table and archive together but {hot} in the table alone: "
            f"raise CRYPTO_PIPELINE_KEEP_DAYS of {name} to {hot} or more, or lower CRYPTO_PIPELINE_KEEP_HOT_DAYS"
        )
    return Kept(hot, kept)


def _before(now: datetime, days: int | None) -> datetime | None:
    if days is None:
        return None
    return midnight(now) - timedelta(days=days)
