"""What trading is decided with: capital, sizes, limits, guards, and what a variant may change of a strategy.

One frozen object with a hash, which stands in every stored decision. The defaults are those of production; a shadow
variant is a copy in which some fields differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from crypto_pipeline.labels.strategies.base import Exits, Parameters, TierExits
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.instruments import Tier


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TierHours(_Model):
    """Hours by liquidity tier."""

    large: float = Field(ge=0)
    mid: float = Field(ge=0)
    meme: float = Field(ge=0)

    def of(self, tier: Tier | str) -> float:
        """The hours of one tier."""
        hours: float = getattr(self, str(tier))
        return hours


class RegimeFactors(_Model):
    """What a size is multiplied by in each regime of the market."""

    bull: float = Field(1.0, ge=0, le=10)
    neutral: float = Field(1.0, ge=0, le=10)
    bear: float = Field(1.0, ge=0, le=10)
    crash: float = Field(1.0, ge=0, le=10)
    unknown: float = Field(1.0, ge=0, le=10)


class Multipliers(_Model):
    """Adaptive multipliers of a size. With the defaults each of them is 1.

    ``volatility_target``: the size is multiplied by target / volatility of a day (a standard deviation, as a fraction).
    ``strength``: by 1 + strength x (return of 7 days - the benchmark's). ``confidence``: by the factor that the model
    asks for in the mode ``boost``, to this power. Each but the last is held within ``smallest`` and ``largest``.
    """

    regime: RegimeFactors = RegimeFactors.model_validate({})
    volatility_target: float | None = Field(None, gt=0, le=10)
    strength: float = Field(0.0, ge=0, le=100)
    confidence: float = Field(1.0, ge=0, le=10)
    smallest: float = Field(0.5, gt=0, le=1)
    largest: float = Field(1.5, ge=1, le=10)


#: What one strategy may have otherwise than the account.
CHANGEABLE = frozenset({
    "size_factor", "max_open", "ml", "threshold_shift", "stop_factor", "target_factor", "horizon_hours", "trailing",
    "dca_orders",
})  # fmt: skip


class TradingParameters(_Model):
    """How an account trades. Fractions, not percent; sums in the account's quote asset.

    ``limits=False`` takes every signal with ``order_size`` for all of its orders: a replay of labels.
    """

    #: Raised whenever the same parameters would decide or book otherwise: it is part of the hash.
    METHOD: ClassVar[int] = 1

    capital: Decimal = Field(Decimal(10_000), gt=0)
    currency: str = Field("USDT", min_length=1)
    # Sizes
    risk_per_trade: float = Field(0.015, gt=0, le=1, description="Equity that is lost where a trade is stopped.")
    max_position: float = Field(0.15, gt=0, description="Of equity, in one position.")
    volume_share: float = Field(0.01, gt=0, le=1, description="Of the instrument's quote volume of 24 hours.")
    min_order: Decimal = Field(Decimal(10), ge=0, description="Smaller sizes are rejected.")
    size_factor: float = Field(1.0, gt=0, le=10)
    caution_size: float = Field(0.5, gt=0, le=1, description="Size is multiplied by this while stress is CAUTION.")
    multipliers: Multipliers = Multipliers.model_validate({})
    # Limits
    limits: bool = True
    order_size: Decimal = Field(Decimal(1_000), gt=0, description="The size of every trade where limits are off.")
    max_open: int = Field(5, ge=1)
    per_instrument: int = Field(1, ge=1)
    max_exposure: float = Field(0.8, gt=0, description="Of equity: open positions and what is reserved for orders.")
    max_open_risk: float = Field(0.06, gt=0, description="Of equity: what is lost where every open trade is stopped.")
    # Guards
    daily_loss: float = Field(0.05, gt=0, lt=1, description="Since 00:00 UTC: no entries until the next day.")
    weekly_loss: float = Field(0.10, gt=0, lt=1, description="Since Monday 00:00 UTC: no entries until the next one.")
    drawdown_halt: float = Field(0.15, gt=0, lt=1, description="Below the high-water mark: no entries for a time.")
    drawdown_pause_hours: float = Field(168.0, gt=0, description="That time; entries are of reduced size afterwards.")
    drawdown_size: float = Field(0.5, gt=0, le=1, description="That size, while the drawdown lasts.")
    drawdown_reset: float = Field(0.20, gt=0, lt=1, description="Below the high-water mark: until a person resets it.")
    # Cooldowns
    cooldown_hours: TierHours = TierHours(large=4, mid=6, meme=24)
    stops_in_row: int = Field(3, ge=1, le=20, description="Stops in a row of an instrument, after which it is banned.")
    ban_hours: float = Field(24.0, ge=0)
    # Models
    ml: bool = Field(True, description="Whether predictions count; without them the rules alone decide.")
    threshold_shift: float = Field(0.0, ge=-1, le=1, description="Added to the probability that a signal must exceed.")
    # What a variant may change of a trade
    stop_factor: float = Field(1.0, gt=0, le=10, description="Of the distance from the lowest order to the stop.")
    target_factor: float = Field(1.0, gt=0, le=10, description="Of the distance from the entry to the take profit.")
    horizon_hours: float | None = Field(None, gt=0, description="The time barrier, where it comes earlier.")
    trailing: bool = False
    dca_orders: int | None = Field(None, ge=1, le=20)
    by_strategy: Mapping[Strategy, Mapping[str, Any]] = Field(
        {}, description="What differs where a signal of this strategy is decided and traded: see CHANGEABLE."
    )

    @field_validator("by_strategy")
    @classmethod
    def _changeable_only(cls, value: Mapping[Strategy, Mapping[str, Any]]) -> Mapping[Strategy, Mapping[str, Any]]:
        for strategy, changes in value.items():
            if unknown := sorted(changes.keys() - CHANGEABLE):
                raise ValueError(f"{unknown[0]} is no parameter that {strategy} may have of its own: "
                                 f"use {', '.join(sorted(CHANGEABLE))}")  # fmt: skip
        return value

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the parameters (names sorted) and of the method."""
        text = json.dumps({"method": self.METHOD, **self.model_dump(mode="json")}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of(self, strategy: Strategy) -> TradingParameters:
        """The parameters by which signals of one strategy are decided and traded; guards are those of the account."""
        own = self.by_strategy.get(strategy, {})
        return self.changed({**own, "by_strategy": {}}) if self.by_strategy else self

    def strategy_parameters(self, strategy: Strategy, parameters: Parameters) -> Parameters:
        """``parameters`` of a strategy with what is changed here; the same object where nothing is.

        Stops and targets are changed on the plan of a trade instead (``stop_factor``, ``target_factor``): a setup that
        weighs them stays the same setup.
        """
        changes: dict[str, Any] = {}
        if self.horizon_hours is not None:
            changes["horizon"] = min(parameters.horizon, max(1, int(self.horizon_hours * 4)))
        if strategy is Strategy.DCA and self.dca_orders is not None:
            changes["orders"] = self.dca_orders
        if not changes:
            return parameters
        return type(parameters).model_validate({**parameters.model_dump(), **changes})

    def changed(self, changes: Mapping[str, Any]) -> TradingParameters:
        """A copy in which ``changes`` differ, checked. Raises ValidationError."""
        return type(self).model_validate({**self.model_dump(), **changes})


def _trailing(*values: float) -> TierExits:
    """Trailing distances of the tiers large, mid and meme; the form of exits, of which only the stop is used."""
    large, mid, meme = (Exits(take_profit=1.0, stop_loss=value) for value in values)
    return TierExits(large=large, mid=mid, meme=meme)


#: Where ``trailing`` is on: the distance of the stop below the highest high, by strategy and tier.
TRAILING_DISTANCE: Mapping[Strategy, TierExits] = {
    Strategy.DCA: _trailing(0.02, 0.035, 0.06),
    Strategy.SWING: _trailing(0.025, 0.04, 0.06),
    Strategy.CHANNEL: _trailing(0.005, 0.007, 0.01),
}


def trailing_distance(strategy: Strategy, tier: Tier | str, exits: TierExits) -> float:
    """The distance of a trailing stop; of a strategy that has none of its own, half of the tier's stop (``exits``)."""
    own = TRAILING_DISTANCE.get(strategy)
    return exits.of(tier).stop_loss / 2 if own is None else own.of(tier).stop_loss
