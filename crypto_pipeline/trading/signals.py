"""Signals: setups of the traded parameter sets, with what a decision about them needs.

A signal is known at the close of its bar. Frames of signals have the columns of ``SIGNAL_SCHEMA`` and the setup's own
measures as ``setup_…`` (null where a strategy has no such measure), sorted as decisions are made: by signal bar, then
strategy in the order of the registry, then instrument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Panel
from crypto_pipeline.labels.strategies.base import DAY, WEEK
from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy
from crypto_pipeline.market.bars import UTC_MS

#: Columns of a frame of signals. Times are UTC, sums in the quote asset, fractions not percent.
SIGNAL_SCHEMA: dict[str, pl.DataType] = {
    "strategy": pl.String(),
    "instrument": pl.String(),
    "signal_ts": UTC_MS,  # open of the signal bar
    "tier": pl.String(),
    "decision_price": pl.Float64(),  # its close
    "day_volume": pl.Float64(),  # quote volume of the 96 bars up to it, each at its close
    "stress": pl.Int64(),  # of the market, as features have it; null: not known
    "regime": pl.Int64(),
    "volatility": pl.Float64(),  # deviation of 15m returns of a day, scaled to a day
    "strength": pl.Float64(),  # return of 7 days minus the benchmark's
    "params_hash": pl.String(),  # of the strategy's parameters
    "ml_mode": pl.String(),  # null: no prediction
    "probability": pl.Float64(),  # null: no prediction, or it was refused
    "p_star": pl.Float64(),
    "model_id": pl.String(),
}
#: Columns of ``SIGNAL_SCHEMA`` that come from a prediction.
PREDICTED = ("ml_mode", "probability", "p_star", "model_id")
#: Measures of a setup stand in a frame of signals under this prefix.
MEASURE = "setup_"
#: The order in which strategies decide at the same moment.
STRATEGY_ORDER: Mapping[str, int] = {str(strategy): number for number, strategy in enumerate(STRATEGIES)}


def signals_of(
    strategy: Strategy,
    panel: Panel,
    setups: pl.DataFrame,
    tiers: Mapping[str, str],
    params_hash: str,
    market: MarketStates | None = None,
) -> pl.DataFrame:
    """Signals of one strategy from ``setups`` (of ``find_setups`` on ``panel``), without predictions.

    ``market``: the market's state on the panel's bars; None: unknown throughout.
    """
    numbers, places = setups["number"].to_numpy(), setups["place"].to_numpy()
    names = [panel.names[number] for number in numbers.tolist()]
    state = market or MarketStates.unknown(panel.width)
    week = _back(panel.close, numbers, places, WEEK)
    measures = [pl.col(name).alias(MEASURE + name) for name in setups.columns if name not in ("number", "place")]
    known = {
        "strategy": pl.Series([str(strategy)] * len(names), dtype=pl.String),
        "instrument": pl.Series(names, dtype=pl.String),
        "signal_ts": pl.Series(panel.times(places)),
        "tier": pl.Series([tiers[name] for name in names], dtype=pl.String),
        "decision_price": pl.Series(panel.close[numbers, places]),
        "day_volume": pl.Series(_day_volumes(panel, numbers, places)),
        "stress": pl.Series(state.stress[places]).fill_nan(None),
        "regime": pl.Series(state.regime[places]).fill_nan(None),
        "volatility": pl.Series(_volatility(panel, numbers, places)).fill_nan(None),
        "strength": pl.Series(week - state.week_return[places]).fill_nan(None),
        "params_hash": pl.Series([params_hash] * len(names), dtype=pl.String),
    }
    columns = [known[name].cast(dtype).alias(name) for name, dtype in SIGNAL_SCHEMA.items() if name in known]
    empty = [pl.lit(None, SIGNAL_SCHEMA[name]).alias(name) for name in PREDICTED]
    return setups.select(*measures).with_columns(columns).with_columns(empty).select(*SIGNAL_SCHEMA, *_own(setups))


def merged(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Signals of several strategies in the order in which they are decided."""
    if not frames:
        return pl.DataFrame(schema=SIGNAL_SCHEMA)
    together = pl.concat(frames, how="diagonal")
    order = pl.col("strategy").replace_strict(STRATEGY_ORDER, return_dtype=pl.Int64)
    return together.sort("signal_ts", order, "instrument")


class MarketStates:
    """State of the benchmark's market per bar of a grid: stress and regime as numbers (NaN: not known), and its return
    of seven days.
    """

    def __init__(self, stress: Floats, regime: Floats, week_return: Floats) -> None:
        self.stress, self.regime, self.week_return = stress, regime, week_return

    @classmethod
    def unknown(cls, width: int) -> MarketStates:
        """Nothing is known of the market."""
        nothing = np.full(width, np.nan)
        return cls(nothing, nothing, nothing)


def _own(setups: pl.DataFrame) -> list[str]:
    return [MEASURE + name for name in setups.columns if name not in ("number", "place")]


def _back(values: Floats, numbers: Floats, places: Floats, bars: int) -> Floats:
    """Return over ``bars`` up to each place; NaN where a bar is absent."""
    before = np.where(places >= bars, values[numbers, np.maximum(places - bars, 0)], np.nan)
    change: Floats = values[numbers, places] / before - 1
    return change


def _day_volumes(panel: Panel, numbers: Floats, places: Floats) -> Floats:
    windows = _windows(panel.close * panel.volume, numbers, places, DAY)
    total: Floats = np.nansum(windows, axis=1)
    return total


def _volatility(panel: Panel, numbers: Floats, places: Floats) -> Floats:
    """Standard deviation of the log returns of a day, times the root of their number; NaN where a bar is absent."""
    logs = np.log(_windows(panel.close, numbers, places, DAY + 1))
    deviation: Floats = np.std(np.diff(logs, axis=1), axis=1, ddof=1) * np.sqrt(DAY)
    return deviation


def _windows(values: Floats, numbers: Floats, places: Floats, bars: int) -> Floats:
    """The ``bars`` values up to each place, a row per place; NaN before the panel begins."""
    at = places[:, None] + np.arange(1 - bars, 1)
    found: Floats = np.where(at >= 0, values[numbers[:, None], np.maximum(at, 0)], np.nan)
    return found
