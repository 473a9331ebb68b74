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
from crypto_pipeline.market.timeframes import Timeframe

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Panel:
    """Several instruments over the same time: arrays of shape (instruments, bars).

    The bar at place ``i`` opens at ``begin + i * step`` (milliseconds since 1970). A *row* is a place in the arrays
    laid flat, instrument after instrument.
    """

    names: tuple[str, ...]
    begin: int
    step: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(
        cls,
        bars: pl.DataFrame,
        names: Sequence[str],
        start: datetime,
        end: datetime,
        timeframe: Timeframe = TIMEFRAME,
    ) -> Self:
        """The bars that open in ``[start, end)``: ``instrument``, ``open_time`` on the grid from ``start`` on, prices
        and volume, each once.
        """
        begin, step = _milliseconds(start), timeframe.milliseconds
        width = max(0, (_milliseconds(end) - begin) // step)
        numbers = {name: number for number, name in enumerate(names)}
        number = bars["instrument"].cast(pl.String).replace_strict(numbers, default=None, return_dtype=pl.Int64)
        place = (bars["open_time"].cast(UTC_MS).to_physical() - begin) // step
        inside = (place.is_between(0, width - 1) & number.is_not_null()).to_numpy()
        rows = number.fill_null(0).to_numpy()[inside] * width + place.to_numpy()[inside]
        columns: dict[str, Any] = {}
        for name in PRICES:
            column = np.full(len(names) * width, np.nan)
            column[rows] = bars[name].to_numpy()[inside]
            columns[name] = column.reshape(len(names), width)
        return cls(names=tuple(names), begin=begin, step=step, **columns)

    @property
    def width(self) -> int:
        """Bars of each instrument."""
        return int(self.close.shape[1])

    def times(self, places: Ints) -> Ints:
        """Open times in milliseconds since 1970 of bars at those places of any instrument."""
        return self.begin + places * self.step

    def first(self) -> Ints:
        """Place of the first bar of each instrument; ``width`` where there is none."""
        present = ~np.isnan(self.close)
        if not self.width:
            return np.zeros(len(self.names), np.int64)
        return np.where(present.any(axis=1), present.argmax(axis=1), self.width)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
