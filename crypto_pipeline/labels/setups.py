"""Setups: the bars that meet all conditions of their strategy, and keep their distance where they must."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Ints
from crypto_pipeline.labels.spacing import spaced
from crypto_pipeline.labels.strategies.base import WEEK, Measures, Parameters, SetupBars, StrategyDefinition


def setups_of(definition: StrategyDefinition, bars: SetupBars, parameters: Parameters) -> pl.DataFrame:
    """A row per setup, by instrument and time: ``number`` (of the instrument), ``place`` (of the signal bar), and every
    measure of the strategy there.

    Where ``bars.enterable`` is false there is no candidate either: nothing else can decide about spacing.
    """
    measured, rows, late = candidates(definition, bars, parameters)
    if parameters.setup_spacing is not None:
        kept = spaced(bar_numbers(bars, rows), parameters.setup_spacing)
        rows, late = rows[kept], {name: values[kept] for name, values in late.items()}
    numbers, places = np.divmod(rows, bars.panel.width)
    early = {name: bars.at(values, rows) for name, values in measured.items()}
    return pl.DataFrame({"number": numbers, "place": places, **early, **late})


def candidates(definition: StrategyDefinition, bars: SetupBars, parameters: Any) -> tuple[Measures, Ints, Measures]:
    """The rows that may be entered and meet all conditions, spacing aside: measures of the whole panel, the rows, and
    the other measures at these rows.
    """
    measured = definition.measures(bars, parameters)
    met = bars.enterable.copy()
    for condition in definition.conditions:
        if condition.measure in measured:
            met &= condition.met(measured[condition.measure], parameters)
    rows = np.flatnonzero(met)
    late = definition.measures_at(bars, parameters, measured, rows)
    kept: Flags = np.ones(len(rows), np.bool_)
    for condition in definition.conditions:
        if condition.measure not in measured:
            kept &= condition.met(late[condition.measure], parameters)
    return measured, rows[kept], {name: values[kept] for name, values in late.items()}


def bar_numbers(bars: SetupBars, rows: Ints) -> Ints:
    """Numbers of 15m bars since 1970 of ``rows`` (ascending), those of each instrument on weeks of its own.

    Instruments follow each other on one axis of weeks, too far apart to see each other.
    """
    panel = bars.panel
    numbers, places = np.divmod(rows, panel.width)
    stride = (panel.width // WEEK + 3) * WEEK
    on_axis: Ints = panel.grid.first // panel.grid.step + places + numbers * stride
    return on_axis
