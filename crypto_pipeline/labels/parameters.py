"""What decides about setups and labels: one frozen object per strategy, with a hash that stands in every row.

Fractions, not percent; widths in 15m bars. A *set* of parameters has a name and holds one object per strategy; sets
stand side by side, and where two sets agree about a strategy they share its rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.market.timeframes import Timeframe

#: Setups are looked for on bars of this width, and horizons are counted in them.
TIMEFRAME = Timeframe.M15
#: Bars after which no indicator of a setup remembers anything (RSI and MACD: below 1e-12 of their size).
WARM_UP = 400
#: Tiers that are traded; other instruments have no setups.
TRADED = (Tier.LARGE, Tier.MID, Tier.MEME)


class ParameterError(ValueError):
    """A parameter set is wrong; the message names set, strategy, parameter, value and what is accepted."""


class Strategy(StrEnum):
    """The strategies whose setups are labelled."""

    DCA = "dca"
    SWING = "swing"
    CHANNEL = "channel"

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """The strategy called ``text``; ValueError names the choices."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise ValueError(f"unknown strategy {text!r}: use one of {', '.join(cls)}") from None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exits(_Model):
    """Take profit and stop loss as fractions of the entry price."""

    take_profit: float = Field(gt=0, lt=10)
    stop_loss: float = Field(gt=0, lt=1)


class TierExits(_Model):
    """Exits by liquidity tier."""

    large: Exits
    mid: Exits
    meme: Exits

    def of(self, tier: Tier | str) -> Exits:
        """The exits of one tier."""
        exits: Exits = getattr(self, str(tier))
        return exits


class Costs(_Model):
    """What a round trip costs: a fee on each side, and slippage at the entry."""

    fee: float = Field(0.0026, ge=0, lt=0.1)
    slippage_large: float = Field(0.0008, ge=0, lt=0.1)
    slippage_mid: float = Field(0.0015, ge=0, lt=0.1)
    slippage_meme: float = Field(0.0035, ge=0, lt=0.1)

    def slippage(self, tier: Tier | str) -> float:
        """Slippage of one tier."""
        value: float = getattr(self, f"slippage_{tier}")
        return value

    def factor(self, tier: Tier | str) -> float:
        """``(1 + net return) / (1 + gross return)``: bought dearer by slippage and fee, sold less the fee."""
        return (1 - self.fee) / ((1 + self.slippage(tier)) * (1 + self.fee))


class Parameters(_Model):
    """What all strategies have."""

    #: Raised whenever the same parameters would give other rows: it is part of the hash.
    METHOD: ClassVar[int] = 2

    horizon: int = Field(gt=0, le=2000, description="Bars until the time barrier.")
    exits: TierExits
    costs: Costs = Field(default_factory=lambda: Costs.model_validate({}))
    breakeven: float = Field(0.001, ge=0, lt=0.1, description="Net returns within this of 0 are class BREAKEVEN.")

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the parameters (names sorted) and of the method."""
        text = json.dumps(
            {"strategy": type(self).__name__, "method": self.METHOD, **self.model_dump(mode="json")}, sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _exits(*values: tuple[float, float]) -> TierExits:
    pairs = [Exits(take_profit=profit, stop_loss=loss) for profit, loss in values]
    return TierExits(large=pairs[0], mid=pairs[1], meme=pairs[2])


class DcaParameters(Parameters):
    """A sharp fall on normal volume, bought in a grid."""

    METHOD: ClassVar[int] = 3
    horizon: int = Field(288, gt=0, le=2000)
    exits: TierExits = _exits((0.04, 0.06), (0.07, 0.08), (0.10, 0.11))
    fall: float = Field(0.05, gt=0, lt=1, description="The close is at least this far below the highest high.")
    fall_window: int = Field(16, ge=2, le=96)
    volume_ratio: float = Field(0.85, ge=0, description="Mean volume of 4 bars to that of 96, at least.")
    rsi_most: float = Field(45.0, ge=0, le=100)
    spacing: int = Field(60, ge=0, le=288, description="Bars between two setups of an instrument, at least.")
    orders: int = Field(5, ge=1, le=20, description="Equal orders of the grid, the first at the market.")
    step: float = Field(0.01, gt=0, lt=0.2, description="Distance between orders, of the first price.")
    stop_below: float = Field(0.03, gt=0, lt=0.5, description="The stop is this far below the lowest order.")

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


class SwingParameters(Parameters):
    """A breakout on volume, with the trend."""

    horizon: int = Field(192, gt=0, le=2000)
    exits: TierExits = _exits((0.05, 0.04), (0.08, 0.06), (0.12, 0.08))
    breakout: float = Field(0.01, gt=-0.5, lt=1, description="The close is more than this above the highs before.")
    window: int = Field(80, ge=2, le=300)
    volume_ratio: float = Field(1.5, ge=0, description="Volume of the bar to the mean of the window, at least.")
    rsi_least: float = Field(50.0, ge=0, le=100)
    rsi_most: float = Field(75.0, ge=0, le=100)
    day_change_most: float = Field(0.15, gt=0, description="Change over 24 hours, at most.")


class ChannelParameters(Parameters):
    """The lower edge of a straight channel, bought for the way to the upper one."""

    horizon: int = Field(288, gt=0, le=2000)
    #: Where the entry price is not between the channel's own stop and target.
    exits: TierExits = _exits((0.015, 0.02), (0.02, 0.025), (0.025, 0.03))
    window: int = Field(96, ge=10, le=300)
    bands: float = Field(2.0, gt=0, le=5, description="Distance of the bands from the line, in sigma.")
    width_least: float = Field(0.02, gt=0, lt=1)
    width_most: float = Field(0.10, gt=0, lt=1)
    containment: float = Field(0.90, ge=0, le=1, description="Share of the closes between the bands, at least.")
    touches: int = Field(3, ge=0, le=50, description="Touches of each band, at least.")
    touch_within: float = Field(0.25, gt=0, le=2, description="How near to a band is a touch, in sigma.")
    touch_apart: int = Field(4, ge=1, le=96, description="Bars between two touches, at least.")
    position_most: float = Field(0.15, gt=0, lt=1, description="Place of the close between the bands, at most.")
    day_range_most: float = Field(0.08, gt=0, description="Range of 24 hours, less than this.")
    target: float = Field(0.85, gt=0, le=2, description="Place of the take profit between the bands.")
    stop_below: float = Field(0.01, gt=0, lt=0.5, description="The stop is this far below the lower band.")
    reward_to_risk: float = Field(1.5, ge=0, description="Net gain at the target to net loss at the stop, at least.")


MODELS: dict[Strategy, type[Parameters]] = {
    Strategy.DCA: DcaParameters,
    Strategy.SWING: SwingParameters,
    Strategy.CHANNEL: ChannelParameters,
}


def parameter_sets(given: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[Strategy, Parameters]]:
    """The sets that the setting ``label_parameters`` describes: per name what differs from the defaults.

    ``default`` is always there. Raises ParameterError in one clear line.
    """
    sets = {"default": {}, **given}
    return {name: _one_set(name, differing) for name, differing in sets.items()}


def _one_set(name: str, differing: Mapping[str, Mapping[str, Any]]) -> dict[Strategy, Parameters]:
    if strangers := [key for key in differing if key not in set(Strategy)]:
        raise ParameterError(f"label_parameters.{name}.{strangers[0]}: use one of {', '.join(Strategy)}")
    made = {}
    for strategy, model in MODELS.items():
        values = _merged(model.model_validate({}).model_dump(), differing.get(strategy, {}))
        try:
            made[strategy] = model.model_validate(values)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ParameterError(
                f"label_parameters.{name}.{strategy}.{where}={problem['input']!r}: {problem['msg']}; "
                f"parameters are {', '.join(model.model_fields)}"
            ) from None
    return made


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``base``, nested tables too."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
