"""Bars of one instrument on a gapless grid of 15 minutes: absent bars are rows of NaN."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.labels.parameters import TIMEFRAME
from crypto_pipeline.market.bars import UTC_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

STEP = TIMEFRAME.milliseconds
PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Grid:
    """Arrays of equal length; row ``i`` is the bar that opens at ``begin + i * 15 min`` (milliseconds since 1970)."""

    begin: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame, start: datetime, end: datetime) -> Grid:
        """The bars (one instrument, ``open_time`` on the grid, each once) that open in ``[start, end)``."""
        begin = _milliseconds(start)
        size = max(0, (_milliseconds(end) - begin) // STEP)
        place = (bars["open_time"].cast(UTC_MS).to_physical().to_numpy() - begin) // STEP
        inside = (place >= 0) & (place < size)
        columns: dict[str, Any] = {}
        for name in PRICES:
            column = np.full(size, np.nan)
            column[place[inside]] = bars[name].to_numpy()[inside]
            columns[name] = column
        return cls(begin=begin, **columns)

    def __len__(self) -> int:
        return len(self.close)

    @property
    def first(self) -> int:
        """Row of the first bar that is there; the length where there is none."""
        present = ~np.isnan(self.close)
        return int(present.argmax()) if present.any() else len(self)

    def place(self, moment: datetime) -> int:
        """Row of the bar that opens at ``moment`` (floored); may lie outside."""
        return (_milliseconds(moment) - self.begin) // STEP

    def times(self, places: Ints) -> Ints:
        """Open times in milliseconds since 1970."""
        return self.begin + places * STEP

    def frame(self) -> pl.DataFrame:
        """``open_time`` and the columns as Polars has them, null where there is no bar."""
        opens = pl.Series("open_time", self.begin + np.arange(len(self)) * STEP).cast(UTC_MS)
        return pl.DataFrame([opens, *(pl.Series(name, getattr(self, name)) for name in PRICES)]).with_columns(
            pl.col(PRICES).fill_nan(None)
        )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
