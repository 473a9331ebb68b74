"""Prices of several instruments on one grid, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.arrays.grid import COLUMNS, Grid, Ints
from crypto_pipeline.arrays.rolling_loops import Floats
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Panel:
    """Several instruments over the same time: Float64 arrays of shape (instruments, bars), NaN where a bar is absent.

    The bar at place ``i`` opens at the ``i``-th time of ``grid``. A *row* is a place in the arrays laid flat,
    instrument after instrument.
    """

    names: tuple[str, ...]
    grid: Grid
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def from_bars(
        cls, bars: pl.DataFrame, names: Sequence[str], start: datetime, end: datetime, timeframe: Timeframe
    ) -> Self:
        """The bars that open in ``[start, end)`` and whose time is over at ``end``.

        ``bars`` has ``instrument``, ``open_time`` (UTC, on the grid of ``timeframe``), prices and volume, no bar twice.
        """
        grid = Grid(timeframe, start, timeframe.floor(end))
        return cls(tuple(names), grid, **grid.lay(bars, {name: number for number, name in enumerate(names)}))

    @property
    def width(self) -> int:
        """Bars of each instrument."""
        return self.grid.rows

    def part(self, first: int, until: int) -> Self:
        """The bars at places ``[first, until)``, as views of the same arrays."""
        step = self.grid.step
        start, end = (from_unix_ms(self.grid.first + step * place) for place in (first, until))
        grid = Grid(self.grid.timeframe, start, end)
        return replace(self, grid=grid, **{name: getattr(self, name)[:, first:until] for name in COLUMNS})

    def times(self, places: Ints) -> Ints:
        """Open times in Unix milliseconds of bars at those places of any instrument."""
        times: Ints = self.grid.first + places * self.grid.step
        return times

    def first(self) -> Ints:
        """Place of the first bar of each instrument; ``width`` where there is none."""
        present = ~np.isnan(self.close)
        if not self.width:
            return np.zeros(len(self.names), np.int64)
        return np.where(present.any(axis=1), present.argmax(axis=1), self.width)


__all__ = ["COLUMNS", "Flags", "Floats", "Ints", "Panel"]
