"""Bars of instruments on a gapless grid of 15 minutes: absent bars are rows of NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

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
    """One instrument. Arrays of equal length; row ``i`` is the bar that opens at ``begin + i * 15 min``.

    ``begin`` is in milliseconds since 1970.
    """

    begin: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame, start: datetime, end: datetime) -> Grid:
        """The bars (one instrument, ``open_time`` on the grid, each once) that open in ``[start, end)``."""
        alone = bars.select(pl.lit("").alias("instrument"), "open_time", *PRICES)
        return Panel.of(alone, [""], start, end).grid(0)

    def __len__(self) -> int:
        return len(self.close)

    @property
    def first(self) -> int:
        """Row of the first bar that is there; the length where there is none."""
        present = ~np.isnan(self.close)
        return int(present.argmax()) if present.any() else len(self)

    def times(self, places: Ints) -> Ints:
        """Open times in milliseconds since 1970."""
        return self.begin + places * STEP

    def frame(self) -> pl.DataFrame:
        """``open_time`` and the columns as Polars has them, null where there is no bar."""
        opens = pl.Series("open_time", self.begin + np.arange(len(self)) * STEP).cast(UTC_MS)
        return pl.DataFrame([opens, *(pl.Series(name, getattr(self, name)) for name in PRICES)]).with_columns(
            pl.col(PRICES).fill_nan(None)
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """Several instruments over the same time: arrays of shape (instruments, bars), a row of them is a ``Grid``.

    A bar has a *row*: its place in the arrays laid flat, instrument after instrument.
    """

    names: tuple[str, ...]
    begin: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame, names: Sequence[str], start: datetime, end: datetime) -> Self:
        """The bars that open in ``[start, end)``: ``instrument``, ``open_time`` on the grid, prices and volume, each
        once.
        """
        begin = _milliseconds(start)
        width = max(0, (_milliseconds(end) - begin) // STEP)
        numbers = {name: number for number, name in enumerate(names)}
        number = bars["instrument"].cast(pl.String).replace_strict(numbers, default=None, return_dtype=pl.Int64)
        place = (bars["open_time"].cast(UTC_MS).to_physical() - begin) // STEP
        inside = (place.is_between(0, width - 1) & number.is_not_null()).to_numpy()
        rows = number.fill_null(0).to_numpy()[inside] * width + place.to_numpy()[inside]
        columns: dict[str, Any] = {}
        for name in PRICES:
            column = np.full(len(names) * width, np.nan)
            column[rows] = bars[name].to_numpy()[inside]
            columns[name] = column.reshape(len(names), width)
        return cls(names=tuple(names), begin=begin, **columns)

    @property
    def width(self) -> int:
        """Bars of each instrument."""
        return int(self.close.shape[1])

    def grid(self, number: int) -> Grid:
        """One instrument, on the same memory."""
        return Grid(self.begin, *(getattr(self, name)[number] for name in PRICES))

    def times(self, places: Ints) -> Ints:
        """Open times in milliseconds since 1970 of bars at those places of any instrument."""
        return self.begin + places * STEP


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
