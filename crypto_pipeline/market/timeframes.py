"""Timeframes: the fixed grid on which bars live.

Every timeframe is a whole number of minutes on a grid anchored in UTC: a day opens at 00:00, a week on Monday at
00:00. All times are timezone-aware UTC datetimes; spans are half-open, ``[start, end)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


class Timeframe(StrEnum):
    """Width of a bar, named as venues and their users name it, and what follows from it; from narrow to wide.

    This is the one list of timeframes. Each member has its name, its width in minutes, the days for which its bars stay
    in their table, and the days for which the retention ``lean`` keeps them in table and archive together (None: for
    ever). A new member needs a partition of ``market.ohlc_data`` and the views over it (a migration), a test and a page
    of docs, and nothing else.
    """

    M1 = "1m", 1, 30, 90
    M5 = "5m", 5, 180, 365
    M15 = "15m", 15, 180, 365
    M30 = "30m", 30, 180, 365
    H1 = "1h", 60, 365, 730
    H4 = "4h", 240, 365, 730
    D1 = "1d", 1440
    W1 = "1w", 10080

    #: Width in minutes.
    minutes: int
    #: Days in the table by both retention presets; None: for ever.
    hot_days: int | None
    #: Days in table and archive together by the retention ``lean``; None: for ever.
    kept_days: int | None

    def __new__(
        cls, name: str, minutes: int = 0, hot_days: int | None = None, kept_days: int | None = None
    ) -> Timeframe:
        """A member called ``name``."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.minutes, member.hot_days, member.kept_days = minutes, hot_days, kept_days
        return member

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Return the timeframe called ``text``; a ValueError names the value and the choices."""
        try:
            return cls(text)
        except ValueError:
            raise ValueError(f"unknown timeframe {text!r}: use one of {', '.join(cls)}") from None

    @property
    def seconds(self) -> int:
        """Width in seconds."""
        return self.minutes * 60

    @property
    def milliseconds(self) -> int:
        """Width in milliseconds."""
        return self.minutes * 60_000

    @property
    def delta(self) -> timedelta:
        """Width as a timedelta."""
        return timedelta(minutes=self.minutes)

    @property
    def cell_days(self) -> int:
        """Days in one coverage cell of this timeframe: one, or seven for weekly bars."""
        return 7 if self is Timeframe.W1 else 1

    @property
    def bars_per_cell(self) -> int:
        """Bars of this timeframe in one complete 24/7 coverage cell."""
        return self.cell_days * 1440 // self.minutes

    def floor(self, moment: datetime) -> datetime:
        """Open time of the bar that holds ``moment``. Raises ValueError for a naive datetime."""
        require_utc(moment)
        anchor = _FIRST_MONDAY if self is Timeframe.W1 else _EPOCH
        return moment - (moment - anchor) % self.delta

    def ceil(self, moment: datetime) -> datetime:
        """First open time at or after ``moment``."""
        floored = self.floor(moment)
        return floored if floored == moment else floored + self.delta

    def next(self, moment: datetime) -> datetime:
        """Open time of the bar after the one that holds ``moment``."""
        return self.floor(moment) + self.delta

    def open_times(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Every open time in ``[start, end)``, oldest first."""
        moment = self.ceil(start)
        while moment < end:
            yield moment
            moment += self.delta

    def count(self, start: datetime, end: datetime) -> int:  # type: ignore[override]  # not the letters of "5m"
        """How many open times lie in ``[start, end)``."""
        return max(0, (self.ceil(end) - self.ceil(start)) // self.delta)

    def floor_expr(self, column: str = "open_time") -> pl.Expr:
        """Polars expression: ``column`` (Datetime UTC) floored to this grid, sortedness kept."""
        import polars as pl  # here, because settings read the list of timeframes and must load fast

        return pl.col(column).dt.truncate(str(self))  # Polars' weeks begin on Monday, as ours do


#: Each timeframe above 1m, and the next narrower one, from whose bars it is rolled up.
LOWER: dict[Timeframe, Timeframe] = dict(zip(list(Timeframe)[1:], list(Timeframe)[:-1], strict=True))

HIGHER_TIMEFRAMES: tuple[Timeframe, ...] = tuple(timeframe for timeframe in Timeframe if timeframe is not Timeframe.M1)


def require_utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC; a naive datetime is a ValueError, never a guess."""
    if moment.tzinfo is None:
        raise ValueError(f"naive time {moment.isoformat()}: give a time zone, for example {moment.isoformat()}Z")
    return moment.astimezone(UTC)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 date or time with zone as UTC. A bare date is its midnight in UTC.

    Raises ValueError that names the value and the accepted forms.
    """
    try:
        if len(text) == 10:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"cannot read the time {text!r}: use ISO 8601, for example 2026-01-31 or 2026-01-31T12:00Z"
        ) from None
    return require_utc(moment)
