"""Bars of many instruments on one gapless grid of open times, as arrays: aligned by place, without joins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe, require_utc

Ints = npt.NDArray[np.int64]
COLUMNS = ("open", "high", "low", "close", "volume")


class Grid:
    """Open times ``[start, end)`` of one timeframe. ``start`` is floored and ``end`` raised to the grid."""

    def __init__(self, timeframe: Timeframe, start: datetime, end: datetime) -> None:
        self.timeframe = timeframe
        self.step = timeframe.milliseconds
        self.first = _ms(timeframe.floor(start))
        self.rows = max(0, (_ms(timeframe.ceil(end)) - self.first) // self.step)

    @classmethod
    def of(cls, bars: pl.DataFrame, timeframe: Timeframe, end: datetime) -> Grid | None:
        """From the first of ``bars`` to the last that has closed at ``end``; None where there is none."""
        first, last = bars["open_time"].min(), bars["open_time"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return None
        until = min(timeframe.floor(end), last + timeframe.delta)
        return cls(timeframe, first, until) if until > first else None

    @property
    def end(self) -> datetime:
        """The close of the last row."""
        return datetime.fromtimestamp((self.first + self.step * self.rows) / 1000, UTC)

    def open_times(self, skipped: int = 0) -> Ints:
        """Milliseconds since 1970, without the first ``skipped`` rows."""
        found: Ints = self.first + self.step * np.arange(skipped, self.rows, dtype=np.int64)
        return found

    def row_from(self, moment: datetime) -> int:
        """The first row that opens at ``moment`` or later."""
        return min(max(0, -((self.first - _ms(moment)) // self.step)), self.rows)

    def lay(self, bars: pl.DataFrame, members: Mapping[str, int]) -> dict[str, Floats]:
        """``bars`` as arrays (members × rows) by column, NaN where there is none, and throughout for a column that the
        frame lacks. Instruments that are no members, and bars outside of the grid, are left out.
        """
        opens = bars["open_time"].cast(UTC_MS).to_physical().to_numpy()
        place = (opens - self.first) // self.step
        runs = bars["instrument"].rle().struct.unnest()
        rows = np.array([members.get(name, -1) for name in runs["value"]], np.int64)
        row = np.repeat(rows, runs["len"].to_numpy())
        inside = (place >= 0) & (place < self.rows) & (row >= 0)
        target = row * self.rows + place
        whole = bool(inside.all())
        laid = {}
        for name in COLUMNS:
            found = np.full(len(members) * self.rows, np.nan)
            if name in bars.columns:
                values = bars[name].cast(pl.Float64).to_numpy()
                found[target if whole else target[inside]] = values if whole else values[inside]
            laid[name] = found.reshape(len(members), self.rows)
        return laid

    def closed_at(self, wider: Grid, skipped: int) -> Ints:
        """For every row of this grid, without the first ``skipped``, the row of ``wider`` that had closed last when the
        row closed; -1: none.
        """
        closes = self.open_times(skipped) + self.step
        place = (closes - wider.first) // wider.step - 1
        return np.where((place >= 0) & (place < wider.rows), place, -1)


def take(values: Floats, place: Ints) -> Floats:
    """``values`` (instruments × rows) at ``place`` of their rows; NaN at -1."""
    padded = np.concatenate((values, np.full((len(values), 1), np.nan)), axis=1)
    found: Floats = padded[:, place]
    return found


def _ms(moment: datetime) -> int:
    return int(require_utc(moment).timestamp() * 1000)
