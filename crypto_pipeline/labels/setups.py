"""Setups: the bars that meet all conditions of their strategy, and keep their distance where they must."""

from __future__ import annotations

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Ints, Panel
from crypto_pipeline.labels.spacing import spaced
from crypto_pipeline.labels.strategies.base import WEEK, Measures, Parameters, SetupBars, StrategyDefinition
from crypto_pipeline.labels.strategies.conditions import Condition, at_least

#: As the last condition of strategies whose setups keep a distance.
SPACING = at_least("spacing", lambda p: float(p.setup_spacing), "15m bars since the setup before it.")


def conditions_of(definition: StrategyDefinition, parameters: Parameters) -> tuple[Condition, ...]:
    """Every condition of a setup, the distance to the setup before included."""
    return definition.conditions if parameters.setup_spacing is None else (*definition.conditions, SPACING)


def setups_of(definition: StrategyDefinition, bars: SetupBars, parameters: Parameters) -> pl.DataFrame:
    """A row per setup, by instrument and time: ``number`` (of the instrument), ``place`` (of the signal bar), and every
    measure of the strategy there.

    Where ``bars.enterable`` is false there is no candidate either: nothing else can decide about spacing.
    """
    measured = definition.measures(bars, parameters)
    rows, late = candidates(definition, bars, parameters, measured)
    if parameters.setup_spacing is not None:
        kept = spaced(bar_numbers(bars.panel, rows), parameters.setup_spacing)
        rows, late = rows[kept], {name: values[kept] for name, values in late.items()}
    return setup_frame(bars, measured, rows, late)


def setup_frame(bars: SetupBars, measured: Measures, rows: Ints, late: Measures) -> pl.DataFrame:
    """The frame of ``setups_of`` for ``rows``; ``late``: measures at these rows only."""
    numbers, places = np.divmod(rows, bars.panel.width)
    early = {name: bars.at(values, rows) for name, values in measured.items()}
    return pl.DataFrame({"number": numbers, "place": places, **early, **late})


def candidates(
    definition: StrategyDefinition, bars: SetupBars, parameters: Parameters, measured: Measures
) -> tuple[Ints, Measures]:
    """The rows that may be entered and meet all conditions, spacing aside, and the late measures at these rows.

    ``measured``: the measures of the whole panel.
    """
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
    return rows[kept], {name: values[kept] for name, values in late.items()}


def bar_numbers(panel: Panel, rows: Ints) -> Ints:
    """Numbers of 15m bars since 1970 of ``rows`` (ascending), those of each instrument on weeks of its own.

    Instruments follow each other on one axis of weeks, too far apart to see each other.
    """
    numbers, places = np.divmod(rows, panel.width)
    stride = (panel.width // WEEK + 3) * WEEK
    on_axis: Ints = panel.grid.first // panel.grid.step + places + numbers * stride
    return on_axis
