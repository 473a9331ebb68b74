"""SWING: a breakout on volume, with the trend of the hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.arrays.rolling import rolling_max
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.labels.strategies.base import (
    DAY,
    HOUR,
    Measures,
    Parameters,
    SetupBars,
    StrategyDefinition,
    TierExits,
    exits_by_tier,
)
from crypto_pipeline.labels.strategies.conditions import above, at_least, at_most
from crypto_pipeline.store.research.label_columns import LabelTable


class SwingParameters(Parameters):
    """A breakout on volume, with the trend."""

    FORMER_NAMES: ClassVar[Mapping[str, str]] = {
        "rsi_min": "rsi_least",
        "rsi_max": "rsi_most",
        "day_change_max": "day_change_most",
    }
    horizon: int = Field(192, gt=0, le=2000)
    exits: TierExits = exits_by_tier((0.05, 0.04), (0.08, 0.06), (0.12, 0.08))
    breakout: float = Field(0.01, gt=-0.5, lt=1, description="The close is more than this above the highs before.")
    window: int = Field(80, ge=2, le=300)
    volume_ratio: float = Field(1.5, ge=0, description="Volume of the bar to the mean of the window, at least.")
    rsi_min: float = Field(50.0, ge=0, le=100, description="RSI 14 of the signal bar, at least.")
    rsi_max: float = Field(75.0, ge=0, le=100, description="RSI 14 of the signal bar, at most.")
    day_change_max: float = Field(0.15, gt=0, description="Change over 24 hours, at most.")


def measures(bars: SetupBars, parameters: SwingParameters) -> Measures:
    """``breakout``, ``volume_ratio``, ``rsi14``, ``macd_histogram`` (relative to the close), ``day_change``."""
    panel, window = bars.panel, parameters.window
    close = panel.close
    return {
        "breakout": ratio(close, lagged(rolling_max(panel.high, window))) - 1,
        "volume_ratio": ratio(panel.volume, indicators.sma(panel.volume, window)),
        "rsi14": indicators.rsi(close),
        "macd_histogram": ratio(indicators.macd(close).histogram, close),
        "day_change": ratio(close, lagged(close, DAY)) - 1,
    }


def measures_at(bars: SetupBars, parameters: SwingParameters, measured: Measures, rows: Ints) -> Measures:
    """The trend of the last hour that had closed when the signal bar closed; an older one does not stand in for it.

    ``hour_trend``: its close relative to its SMA 20, minus 1; ``hour_averages``: that SMA relative to SMA 50, minus 1.
    """
    if bars.hours is None:
        return dict.fromkeys(("hour_trend", "hour_averages"), np.full(len(rows), np.nan))
    numbers, places = np.divmod(rows, bars.panel.width)
    hour = (places + 1) // HOUR - 1
    close = bars.hours.close
    fast, slow = indicators.sma(close, 20), indicators.sma(close, 50)
    before = hour < 0
    # Differences first: a difference is above 0 exactly where the one is above the other.
    found = {"hour_trend": ratio(close - fast, fast), "hour_averages": ratio(fast - slow, slow)}
    return {name: np.where(before, np.nan, values[numbers, hour]) for name, values in found.items()}


CONDITIONS = (
    above("breakout", lambda p: p.breakout, "Close relative to the highest high of the window before, minus 1."),
    at_least("volume_ratio", lambda p: p.volume_ratio, "Volume of the bar relative to its mean over the window."),
    at_least("rsi_min", lambda p: p.rsi_min, "RSI 14 of the signal bar, at least.", "rsi14"),
    at_most("rsi_max", lambda p: p.rsi_max, "RSI 14 of the signal bar, at most.", "rsi14"),
    above("macd_histogram", lambda p: 0.0, "MACD minus its signal line, relative to the close."),
    at_most("day_change", lambda p: p.day_change_max, "Change of the close over 24 hours."),
    above("hour_trend", lambda p: 0.0, "Close of the last hour relative to its SMA 20, minus 1."),
    above("hour_averages", lambda p: 0.0, "SMA 20 of the last hour relative to its SMA 50, minus 1."),
)


SWING = StrategyDefinition(
    about="Breakouts on volume with the trend of the hour.",
    parameters=SwingParameters,
    table=LabelTable.from_text(
        "swing",
        """
            breakout        float  Close relative to the highest high of the window before: above 0.
            volume_ratio    float  Volume relative to its mean over the window.
            rsi14           float  RSI 14 at the signal, 0 to 100.
            macd_histogram  float  MACD minus its signal line, relative to the close.
            day_change      float  Change of the close over 24 hours.
        """,
    ),
    measures=measures,
    measures_at=measures_at,
    conditions=CONDITIONS,
    uses_hours=True,
    loose={"breakout": 0.0, "volume_ratio": 1.0},
)
