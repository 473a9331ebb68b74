"""Bars of many instruments on one gapless grid of open times, as arrays: aligned by place, without joins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe, require_utc

Floats = npt.NDArray[np.float64]
COLUMNS = ("open", "high", "low", "close", "volume")


class Grid:
    """Open times ``[start, end)`` of one timeframe. ``start`` is floored and ``end`` raised to the grid."""

    def __init__(self, timeframe: Timeframe, start: datetime, end: datetime) -> None:
        self.timeframe = timeframe
        self.step = timeframe.milliseconds
        self.first = _ms(timeframe.floor(start))
        self.rows = max(0, (_ms(timeframe.ceil(end)) - self.first) // self.step)
        self.open_time = pl.Series("open_time", self.first + self.step * np.arange(self.rows)).cast(UTC_MS)

    def places(self, bars: pl.DataFrame) -> npt.NDArray[np.int64]:
        """For every bar the row of the grid, which may lie outside of it."""
        opens: npt.NDArray[np.int64] = bars["open_time"].cast(UTC_MS).to_physical().to_numpy()
        return (opens - self.first) // self.step

    def lay(self, bars: pl.DataFrame, columns: Sequence[str] = COLUMNS) -> pl.DataFrame:
        """``bars`` of one instrument with a row of nulls for every open time at which there is none."""
        place = self.places(bars)
        inside = (place >= 0) & (place < self.rows)
        if len(bars) == self.rows and inside.all() and (np.diff(place) == 1).all():
            return bars.select(self.open_time, *columns)
        laid = [self.open_time]
        for name in columns:
            values = np.full(self.rows, np.nan)
            values[place[inside]] = bars[name].fill_null(np.nan).to_numpy()[inside]
            laid.append(pl.Series(name, values).fill_nan(None))
        return pl.DataFrame(laid)

    def closed_at(self, wider: Grid) -> npt.NDArray[np.int64]:
        """For every row of this grid the row of ``wider`` that had closed last when the row closed; -1: none."""
        closes = self.first + self.step * np.arange(1, self.rows + 1)
        place = (closes - wider.first) // wider.step - 1
        return np.where((place >= 0) & (place < wider.rows), place, -1)


def take(frame: pl.DataFrame, place: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Rows of ``frame`` by place; -1 gives nulls."""
    rows = pl.Series(place).cast(pl.Int64)
    rows = rows.set(rows < 0, None)
    return frame.select(pl.all().gather(rows))


def _ms(moment: datetime) -> int:
    return int(require_utc(moment).timestamp() * 1000)
