"""DCA: a sharp fall on normal volume, bought in a grid of orders; the take profit stands on their average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.panel import Flags, Floats
from crypto_pipeline.arrays.rolling import rolling_max
from crypto_pipeline.features.definitions import indicators, regimes
from crypto_pipeline.labels.strategies.base import (
    DAY,
    HOUR,
    TRADED,
    Barriers,
    Entries,
    Measures,
    Parameters,
    SetupBars,
    StrategyDefinition,
    TierExits,
    exits_by_tier,
)
from crypto_pipeline.labels.strategies.conditions import at_least, at_most, below
from crypto_pipeline.store.research.label_columns import LabelTable


class DcaParameters(Parameters):
    """A sharp fall on normal volume, bought in a grid."""

    METHOD: ClassVar[int] = 4
    FORMER_NAMES: ClassVar[Mapping[str, str]] = {"rsi_max": "rsi_most"}
    horizon: int = Field(288, gt=0, le=2000)
    exits: TierExits = exits_by_tier((0.04, 0.06), (0.07, 0.08), (0.10, 0.11))
    fall: float = Field(0.05, gt=0, lt=1, description="The close is at least this far below the highest high.")
    fall_window: int = Field(16, ge=2, le=96)
    volume_ratio: float = Field(0.85, ge=0, description="Mean volume of 4 bars to that of 96, at least.")
    rsi_max: float = Field(45.0, ge=0, le=100, description="RSI 14 of the signal bar, at most.")
    spacing: int = Field(60, ge=0, le=288, description="Bars between two setups of an instrument, at least.")
    orders: int = Field(5, ge=1, le=20, description="Equal orders of the grid, the first at the market.")
    step: float = Field(0.01, gt=0, lt=0.2, description="Distance between orders, of the first price.")
    stop_below: float = Field(0.03, gt=0, lt=0.5, description="The stop is this far below the lowest order.")

    @property
    def setup_spacing(self) -> int:
        """Bars between two setups of an instrument, at least."""
        return self.spacing

    @model_validator(mode="after")
    def _stop_below_orders(self) -> Self:
        prices = [1 - self.step * number for number in range(self.orders)]
        if prices[-1] <= 0.1:
            raise ValueError(f"{self.orders} orders {self.step:g} apart reach below a tenth of the price: use fewer")
        average = self.orders / sum(1 / price for price in prices)
        for tier in TRADED:
            loss = self.exits.of(tier).stop_loss
            if average * (1 - loss) >= prices[-1]:
                raise ValueError(f"stop_loss {loss:g} of {tier} lies above the lowest order: use more")
        return self


def measures(bars: SetupBars, parameters: DcaParameters) -> Measures:
    """A sharp fall: ``fall`` (below 0), ``volume_ratio``, ``rsi14``; ``market_halted``: 1 where nothing is entered."""
    panel = bars.panel
    return {
        "fall": ratio(panel.close, rolling_max(panel.high, parameters.fall_window)) - 1,
        "volume_ratio": ratio(indicators.sma(panel.volume, HOUR), indicators.sma(panel.volume, DAY)),
        "rsi14": indicators.rsi(panel.close),
        "market_halted": bars.halted.astype(np.float64),
    }


CONDITIONS = (
    at_most("fall", lambda p: -p.fall, "The close is this far below the highest high of the window before."),
    at_least("volume_ratio", lambda p: p.volume_ratio, "Mean volume of an hour relative to that of a day."),
    at_most("rsi14", lambda p: p.rsi_max, "RSI 14 of the signal bar."),
    below(
        "market_calm", lambda p: 1.0, "1 where the benchmark crashes or panics, or cannot be judged.", "market_halted"
    ),
)


def halts(benchmark: Floats) -> Flags:
    """Per 15m close of the benchmark: the market crashes or panics, or it cannot be told; nothing is entered."""
    crash = regimes.regime_of(benchmark, np.zeros(benchmark.shape)) == regimes.Regime.CRASH
    calm = regimes.stress_of(benchmark) > regimes.Stress.PANIC
    seen = ~np.isnan(benchmark + sum(lagged(benchmark, bars) for bars in (HOUR, 4 * HOUR, DAY)))
    halted: Flags = crash | ~calm | ~seen
    return halted


def barriers(entries: Entries, parameters: DcaParameters) -> Barriers:
    """A grid of orders. The stop is the nearer of two: below the lowest order, or the tier's, below their average."""
    price = entries.price
    orders = price[:, None] * (1 - parameters.step * np.arange(parameters.orders))
    average = parameters.orders / (1 / orders).sum(axis=1)
    stop = np.maximum(orders[:, -1] * (1 - parameters.stop_below), average * (1 - entries.stop_loss))
    return Barriers(orders, stop, np.full(len(price), np.nan), np.zeros(len(price), np.bool_))


DCA = StrategyDefinition(
    about="Sharp falls on normal volume, bought in a grid of orders; take profit on the average entry.",
    parameters=DcaParameters,
    table=LabelTable.from_text(
        "dca",
        """
            fall           float  How far the close is below the highest high of the window before: a fraction below 0.
            volume_ratio   float  Mean volume of an hour relative to that of a day.
            rsi14          float  RSI 14 at the signal, 0 to 100.
            orders_filled  int    Orders of the grid that were filled.
            average_px     float  Their average price.
        """,
    ),
    measures=measures,
    conditions=CONDITIONS,
    barriers=barriers,
    uses_benchmark=True,
    known_after_entry=frozenset({"orders_filled", "average_px"}),
    loose={"fall": 0.03},
)
