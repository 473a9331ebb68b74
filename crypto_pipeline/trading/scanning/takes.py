"""Setups as they are known at the close of their bars: the TAKEs of the scanner without its other rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Panel
from crypto_pipeline.labels.compute import SetupContext, enterable
from crypto_pipeline.labels.setups import bar_numbers, candidates, setup_frame
from crypto_pipeline.labels.spacing import spaced
from crypto_pipeline.labels.strategies.base import WARM_UP, Measures, Parameters, SetupBars
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.trading.scanning.judging import judge


def takes(
    strategy: Strategy,
    panel: Panel,
    context: SetupContext,
    parameters: Parameters,
    tiers: Sequence[str],
    first: int,
) -> pl.DataFrame:
    """The setups of ``scan`` at places from ``first`` on, with the same values, at a fraction of its time.

    A setup counts whether or not its next bar came later: at its close nobody knows. Columns as in
    ``labels.setups.setups_of``, sorted by instrument and time. ``tiers``: one per instrument of the panel.
    """
    definition, able = strategy.definition, enterable(panel)
    bars = SetupBars(panel, able, context.halted, context.hours, tiers)
    warm = ~np.isnan(panel.close) & (np.arange(panel.width) >= panel.first()[:, None] + WARM_UP)
    unentered = np.flatnonzero(warm & ~able & (np.arange(panel.width) >= first))
    judged = judge(definition, bars, parameters, unentered)
    rows, late = candidates(definition, bars, parameters, judged.measured)
    if parameters.setup_spacing is not None:
        kept = spaced(bar_numbers(panel, rows), parameters.setup_spacing)
        rows, late = rows[kept], _at(late, kept)
    met: Flags = np.logical_and.reduce(judged.met, axis=1)
    frames = [
        setup_frame(bars, judged.measured, rows, late),
        setup_frame(bars, judged.measured, unentered[met], _at(judged.late, met)),
    ]
    return pl.concat(frames).filter(pl.col("place") >= first).sort("number", "place")


def _at(measures: Measures, rows: Flags) -> Measures:
    return {name: values[rows] for name, values in measures.items()}
