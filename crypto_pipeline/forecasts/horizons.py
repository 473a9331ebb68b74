"""The horizons of forecasts: how far they look ahead, in which steps, and from which bars they are computed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from crypto_pipeline.market.instruments import Refresh
from crypto_pipeline.market.timeframes import Timeframe

#: Seconds between two refreshes of a forecast, by the class of its instrument.
REFRESH_SECONDS = {Refresh.HOT: 60.0, Refresh.NORMAL: 120.0, Refresh.COLD: 300.0}
#: Seconds for which an answer is fresh, by the class of its instrument.
TIME_TO_LIVE = {Refresh.HOT: 120.0, Refresh.NORMAL: 300.0, Refresh.COLD: 600.0}
#: An answer older than so many times its time to live is refused.
STALE_TIMES = 3.0
#: Seconds after which the last price of an asset class is too old to anchor a forecast to.
PRICE_TIME_TO_LIVE = {"crypto": 300.0, "stock": 300.0, "macro": 1800.0}
#: Errors of fewer origins than this give no interval, and so no forecast.
LEAST_ORIGINS = 60


@dataclass(frozen=True, slots=True)
class Walk:
    """How the errors of earlier origins are used.

    Attributes:
        window: Newest errors that give the quantiles.
        origins: Newest origins that are judged.
        every: Origins between two determinations of the quantiles in that judgement: those of a day.
        rate: By how much the misses of one such stretch move the share of targets that an interval leaves outside.
    """

    window: int
    origins: int
    every: int
    rate: float


class HorizonShape(Protocol):
    """What of a horizon the judgement of candidates needs."""

    @property
    def steps(self) -> int:
        """How many targets an origin has."""

    @property
    def walk(self) -> Walk:
        """How errors are used."""

    @property
    def reach(self) -> int:
        """Rows from an origin to its last target."""

    @property
    def block(self) -> int:
        """Origins that are one observation."""


@dataclass(frozen=True, slots=True)
class ReleaseHorizon:
    """The one of macro series: the next release."""

    steps: int = 1
    walk: Walk = Walk(window=240, origins=480, every=1, rate=0.01)
    reach: int = 1
    block: int = 2

    def __str__(self) -> str:
        return "release"


RELEASE = ReleaseHorizon()
_NO_WALK = Walk(0, 0, 1, 0.0)


class ForecastHorizon(StrEnum):
    """A class of horizons, named by the width of its steps.

    Each member has its name, its number of steps, the timeframe of the bars it is computed from, the days of one step
    where that is not one bar, and its ``Walk``. The figures of the walks were chosen on recorded bars: with these the
    intervals cover what they promise (see docs/forecasts.md).

    A forecast of weeks is made of daily bars, so that a year of history has 365 origins and not 52.
    """

    HOURS = "1h", 24, Timeframe.H1, 0, Walk(window=720, origins=2160, every=24, rate=0.05)
    DAYS = "1d", 7, Timeframe.D1, 0, Walk(window=365, origins=730, every=1, rate=0.01)
    WEEKS = "1w", 4, Timeframe.D1, 7, Walk(window=365, origins=730, every=1, rate=0.005)

    steps: int
    timeframe: Timeframe
    step_days: int
    walk: Walk

    def __new__(
        cls, name: str, steps: int = 0, timeframe: Timeframe = Timeframe.H1, step_days: int = 0, walk: Walk = _NO_WALK
    ) -> ForecastHorizon:
        """A member called ``name``."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.steps, member.timeframe, member.step_days, member.walk = steps, timeframe, step_days, walk
        return member

    @classmethod
    def parse(cls, text: str) -> ForecastHorizon:
        """The horizon called ``text``; a ValueError names the value and the choices."""
        try:
            return cls(text)
        except ValueError:
            raise ValueError(
                f"unknown horizon {text!r}: use one of {', '.join(cls)}, or {RELEASE} for a macro series"
            ) from None

    @property
    def reach(self) -> int:
        """Bars of an instrument that always trades from an origin to its last target."""
        return self.steps * max(1, self.step_days)

    @property
    def block(self) -> int:
        """Origins that are one observation where candidates are compared: of two such stretches few targets overlap."""
        return 2 * self.reach

    @property
    def span(self) -> timedelta:
        """Time from an origin to the last target of an instrument that always trades."""
        return self.reach * self.timeframe.delta
