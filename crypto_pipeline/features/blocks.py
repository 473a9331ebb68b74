"""Rows of features, a block of instruments at a time: bars as arrays on a shared grid in, a frame out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from crypto_pipeline.arrays.grid import COLUMNS, Grid, Ints, take
from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.features.definitions import regimes, wider_timeframes
from crypto_pipeline.features.definitions.bar_series import BarSeries
from crypto_pipeline.features.definitions.bars import BAR_FEATURES, clock, eligible
from crypto_pipeline.features.definitions.market import BENCHMARK, RELATIVE, CrossSection, cross_section
from crypto_pipeline.features.definitions.registry import ROW_SCHEMA
from crypto_pipeline.features.definitions.wider_timeframes import HIGHER
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

_OWN = [(feature.name, feature.of) for feature in (*BAR_FEATURES, *RELATIVE) if feature.of is not None]
_OF_BENCHMARK = [(feature.name, feature.of) for feature in BENCHMARK if feature.of is not None]
_DAY_MS = 86_400_000
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class WiderBars:
    """Bars of a wider timeframe, and for each row of the fine grid that is kept the one that had closed last."""

    timeframe: Timeframe
    bars: dict[str, Floats]
    closed: Ints


@dataclass(frozen=True, slots=True)
class FeatureInputs:
    """The inputs of one pass, which all instruments share."""

    grid: Grid
    #: rows before the start: they are there to warm up
    skipped: int
    members: dict[str, int]
    fine: dict[str, Floats]
    wider: list[WiderBars]
    cross_section: CrossSection
    benchmark: BarSeries
    #: one row per time from the start on: open time, close, features that all instruments share, regime and stress
    common: pl.DataFrame

    @classmethod
    def from_bars(
        cls, bars: Mapping[Timeframe, pl.DataFrame], start: datetime, end: datetime, benchmark: str | None
    ) -> FeatureInputs | None:
        """None where no 15m bar has closed at ``end``."""
        grid = Grid.from_bars(bars[Timeframe.M15], Timeframe.M15, end)
        if grid is None:
            return None
        names = bars[Timeframe.M15]["instrument"].unique().sort().to_list()
        members = {name: row for row, name in enumerate(names)}
        fine, skipped = grid.lay(bars[Timeframe.M15], members), grid.row_from(start)
        wider = [_wider(bars.get(timeframe), timeframe, grid, skipped, members) for timeframe in HIGHER]
        row = members.get(benchmark or "")
        with np.errstate(all="ignore"):
            leading = BarSeries(_one(fine, row))
            section = cross_section(fine["close"])
            common = _common(grid, skipped, leading, section, wider, row)
        return cls(grid, skipped, members, fine, wider, section, leading, common)

    def rows(self, instruments: Sequence[str]) -> pl.DataFrame:
        """All features of some instruments (members, each once), one below the other, from the start on."""
        members = np.array([self.members[name] for name in instruments])
        series = BarSeries({name: values[members] for name, values in self.fine.items()}, self.benchmark)
        kept = series.there[:, self.skipped :]
        whole = bool(kept.all())

        def cut(values: npt.NDArray[_T]) -> npt.NDArray[_T]:
            return values[:, self.skipped :] if whole else values[:, self.skipped :][kept]

        # A division by 0 makes a value unknown: whatever is not finite becomes null.
        with np.errstate(all="ignore"):
            columns = {name: _nullable(cut(of(series))) for name, of in _OWN}
            for wide in self.wider:
                features = wider_timeframes.values(
                    BarSeries({n: values[members] for n, values in wide.bars.items()}), wide.timeframe
                )
                for name, values in features.items():
                    laid = take(values, wide.closed)
                    columns[name] = _nullable(laid if whole else laid[kept])
        columns["rank_lr_96"] = _nullable(cut(self.cross_section.rank[members]))
        columns["eligible"] = pa.array(cut(eligible(series)).ravel())
        # Series by series: a query of Polars would be planned longer than it runs.
        shared = pl.concat([self.common] * len(members)) if len(members) > 1 else self.common
        if not whole:
            shared = shared.filter(pl.Series(kept.ravel()))
        named = pl.Series("instrument", instruments, dtype=pl.String)
        counts = np.count_nonzero(kept, axis=1).tolist()
        rows = pl.concat([named.new_from_index(member, count) for member, count in enumerate(counts)])
        computed = pl.from_arrow(pa.table(columns))
        assert isinstance(computed, pl.DataFrame)
        by_name = {one.name: one for one in (rows, *shared.get_columns(), *computed.get_columns())}
        return pl.DataFrame([by_name[name] for name in ROW_SCHEMA])


def _common(
    grid: Grid, skipped: int, leading: BarSeries, section: CrossSection, wider: Sequence[WiderBars], row: int | None
) -> pl.DataFrame:
    """The columns that are equal for every instrument; null without a benchmark where they need one."""
    four = next(wide for wide in wider if wide.timeframe is Timeframe.H4)
    trend = np.full((1, grid.rows - skipped), np.nan)
    if row is not None:
        trend = take(regimes.trend_of(four.bars["close"][[row]]), four.closed)
    regime = regimes.regime_of(leading.close, np.pad(trend, ((0, 0), (skipped, 0)), constant_values=np.nan))
    opens = grid.open_times(skipped)
    columns = {
        **clock(opens / _DAY_MS),
        **{name: of(leading)[0, skipped:] for name, of in _OF_BENCHMARK},
        "breadth": section.breadth[skipped:],
        "regime": regime[0, skipped:],
        "stress": regimes.stress_of(leading.close)[0, skipped:],
    }
    frame = pl.from_arrow(pa.table({name: _nullable(values) for name, values in columns.items()}))
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(
        pl.Series("open_time", opens).cast(UTC_MS),
        pl.Series("available_at", opens + grid.step).cast(UTC_MS),
        pl.col("regime", "stress").cast(pl.Int8),
    )


def _wider(
    bars: pl.DataFrame | None, timeframe: Timeframe, grid: Grid, skipped: int, members: Mapping[str, int]
) -> WiderBars:
    """The bars of a wider timeframe that closed before the fine grid ends."""
    wider = None if bars is None else Grid.from_bars(bars, timeframe, grid.end)
    if bars is None or wider is None:
        nothing = dict.fromkeys(COLUMNS, np.full((len(members), 0), np.nan))
        return WiderBars(timeframe, nothing, np.full(grid.rows - skipped, -1))
    return WiderBars(timeframe, wider.lay(bars, members), grid.closed_at(wider, skipped))


def _one(bars: Mapping[str, Floats], row: int | None) -> dict[str, Floats]:
    """The bars of one instrument (``row``); absent bars (NaN) where there is no such instrument."""
    return {name: values[[row]] if row is not None else np.full((1, values.shape[1]), np.nan)
            for name, values in bars.items()}  # fmt: skip


def _nullable(values: Floats) -> pa.Array:
    """An Arrow array, null where a value is not finite."""
    finite = np.isfinite(values)
    validity = None if finite.all() else _owned(np.packbits(finite, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), values.size, [validity, _owned(values)])


def _owned(values: npt.NDArray[_T]) -> pa.Buffer:
    """A copy in memory of Arrow's own.

    NumPy's memory can only be let go of with Python's lock. Polars does so in threads of its own, for which Python may
    be waiting with that lock in its hands.
    """
    buffer = pa.allocate_buffer(values.nbytes)
    np.frombuffer(buffer, values.dtype).reshape(values.shape)[...] = values
    return buffer
