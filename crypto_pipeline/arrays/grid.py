"""A gapless grid of open times on which the bars of many instruments lie as arrays: equal times, equal places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms

Ints = npt.NDArray[np.int64]
COLUMNS = ("open", "high", "low", "close", "volume")


class Grid:
    """The open times of one timeframe in ``[start, end)``; both are moved to the grid, ``start`` back, ``end`` on.

    ``first`` is the first open time and ``step`` the width of a bar, in Unix milliseconds; ``rows`` counts the times.
    """

    def __init__(self, timeframe: Timeframe, start: datetime, end: datetime) -> None:
        self.timeframe = timeframe
        self.step = timeframe.milliseconds
        self.first = unix_ms(timeframe.floor(start))
        self.rows = max(0, (unix_ms(timeframe.ceil(end)) - self.first) // self.step)

    @classmethod
    def from_bars(cls, bars: pl.DataFrame, timeframe: Timeframe, end: datetime) -> Grid | None:
        """From the first of ``bars`` to the last that has closed at ``end``; None where there is none."""
        first, last = bars["open_time"].min(), bars["open_time"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return None
        until = min(timeframe.floor(end), last + timeframe.delta)
        return cls(timeframe, first, until) if until > first else None

    @property
    def end(self) -> datetime:
        """The close of the last row."""
        return from_unix_ms(self.first + self.step * self.rows)

    def open_times(self, skipped: int = 0) -> Ints:
        """Open times in Unix milliseconds, without the first ``skipped`` rows."""
        times: Ints = self.first + self.step * np.arange(skipped, self.rows, dtype=np.int64)
        return times

    def row_from(self, moment: datetime) -> int:
        """The first row that opens at ``moment`` or later."""
        return min(max(0, -((self.first - unix_ms(moment)) // self.step)), self.rows)

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
            column = np.full(len(members) * self.rows, np.nan)
            if name in bars.columns:
                values = bars[name].cast(pl.Float64).to_numpy()
                column[target if whole else target[inside]] = values if whole else values[inside]
            laid[name] = column.reshape(len(members), self.rows)
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
    taken: Floats = padded[:, place]
    return taken
