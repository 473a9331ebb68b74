"""The closes on which a series is forecast: every hour or day, or those of the sessions of an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.market.calendars import Calendar, expected_open_times
from crypto_pipeline.market.times import from_unix_ms, unix_ms

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DAY_MS = 86_400_000
#: Days beyond the reach of a horizon in which even an exchange with long holidays has the sessions it needs.
_MARGIN = timedelta(days=21)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The closes of all expected bars of some series that trade by one calendar.

    ``closes``: Unix milliseconds of the ends of the bars, ascending, shape (bars,). Bars that trade at all hours are
    equally spaced; those of sessions are not.
    """

    horizon: ForecastHorizon
    calendar: Calendar
    closes: Ints

    @classmethod
    def over(cls, horizon: ForecastHorizon, calendar: Calendar, start: datetime, end: datetime) -> Timeline:
        """The closes in ``(start, end]``."""
        width = horizon.timeframe.delta
        opens = expected_open_times(calendar, horizon.timeframe, start, end)
        closes = [unix_ms(moment) + horizon.timeframe.milliseconds for moment in opens if moment + width <= end]
        return cls(horizon, calendar, np.array(closes, np.int64))

    @property
    def bars(self) -> int:
        """The number of closes."""
        return len(self.closes)

    def target_rows(self) -> Ints:
        """For every close and step the row of the close that is its target, shape (bars, steps); -1: none yet.

        A step of some days ends at the last close at or before so many days later.
        """
        rows = np.arange(self.bars, dtype=np.int64)[:, None]
        steps = np.arange(1, self.horizon.steps + 1, dtype=np.int64)
        if not self.horizon.step_days:
            found = rows + steps
            return np.where(found < self.bars, found, -1)
        if not self.bars:
            return np.empty((0, self.horizon.steps), np.int64)
        wanted = self.closes[:, None] + steps * self.horizon.step_days * _DAY_MS
        found = np.searchsorted(self.closes, wanted, side="right") - 1
        return np.where(wanted <= self.closes[-1], found, -1)

    def targets_after(self, moment: datetime) -> list[datetime]:
        """The closes that a forecast made at ``moment``, the close of a bar, is about: one for each step, UTC."""
        horizon = self.horizon
        end = moment + horizon.span * (1 if horizon.step_days else 4) + _MARGIN
        opens = expected_open_times(self.calendar, horizon.timeframe, moment, end)
        closes = [opened + horizon.timeframe.delta for opened in opens]
        if not horizon.step_days:
            return closes[: horizon.steps]
        return _weekly(moment, closes, horizon)


def _weekly(moment: datetime, closes: Sequence[datetime], horizon: ForecastHorizon) -> list[datetime]:
    """The last close at or before every step; the step itself where nothing trades until then."""
    found = []
    for step in range(1, horizon.steps + 1):
        wanted = moment + timedelta(days=horizon.step_days * step)
        before = [close for close in closes if close <= wanted]
        found.append(before[-1] if before else wanted)
    return found


def moment_of(close_ms: int) -> datetime:
    """A close as a datetime, UTC."""
    return from_unix_ms(int(close_ms))


def forward_filled(values: Floats) -> Floats:
    """``values`` (series × bars) with the last known value where one is absent; NaN before the first."""
    known = ~np.isnan(values)
    rows = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), 0), axis=1)
    filled: Floats = np.take_along_axis(values, rows, axis=1)
    return filled
