"""SWING: a breakout on volume, with the trend of the hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.panel import Flags, Floats
from crypto_pipeline.arrays.rolling import rolling_max
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.labels.strategies.base import (
    DAY,
    HOUR,
    Parameters,
    SetupBars,
    StrategyDefinition,
    TierExits,
    exits_by_tier,
)
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


def find(bars: SetupBars, parameters: SwingParameters) -> pl.DataFrame:
    """A breakout with the trend: ``breakout``, ``volume_ratio``, ``rsi14``, ``macd_histogram`` (relative to the close),
    ``day_change``.
    """
    p, panel, hours = parameters, bars.panel, bars.hours
    close = panel.close
    measures = {
        "breakout": ratio(close, lagged(rolling_max(panel.high, p.window))) - 1,
        "volume_ratio": ratio(panel.volume, indicators.sma(panel.volume, p.window)),
        "rsi14": indicators.rsi(close),
        "macd_histogram": ratio(indicators.macd(close).histogram, close),
        "day_change": ratio(close, lagged(close, DAY)) - 1,
    }
    met = (
        (measures["breakout"] > p.breakout)
        & (measures["volume_ratio"] >= p.volume_ratio)
        & (measures["rsi14"] >= p.rsi_min)
        & (measures["rsi14"] <= p.rsi_max)
        & (measures["macd_histogram"] > 0)
        & (measures["day_change"] <= p.day_change_max)
    )
    rows = np.flatnonzero(met)
    numbers, places = np.divmod(rows, panel.width)
    # The last hour that had closed when the signal bar closed; an older one does not stand in for it.
    hour = (places + 1) // HOUR - 1
    trending = rising(hours.close)[numbers, hour] & (hour >= 0) if hours is not None else np.zeros(len(rows), np.bool_)
    return bars.setups(rows[trending], measures)


def rising(close: Floats) -> Flags:
    """Per hour: close > SMA 20 > SMA 50; false while an hour of them is absent."""
    fast, slow = indicators.sma(close, 20), indicators.sma(close, 50)
    uphill: Flags = (close > fast) & (fast > slow)
    return uphill


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
    find=find,
    uses_hours=True,
    loose={"breakout": 0.0, "volume_ratio": 1.0},
)
