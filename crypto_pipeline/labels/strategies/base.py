"""What every strategy is made of: parameters, the bars its setups are looked for on, barriers, and its entry.

Fractions, not percent; widths in 15m bars. The parameters of a strategy are one frozen object, whose hash stands in
every stored label.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from crypto_pipeline.arrays.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.costs import Costs
from crypto_pipeline.labels.strategies.conditions import Condition
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.research.label_columns import LabelTable

#: Setups are looked for on bars of this width, and horizons are counted in them.
TIMEFRAME = Timeframe.M15
#: Bars after which no indicator of a setup remembers anything (RSI and MACD: below 1e-12 of their size).
WARM_UP = 400
#: Tiers that are traded; other instruments have no setups.
TRADED = (Tier.LARGE, Tier.MID, Tier.MEME)
#: 15m bars in an hour, a day and a week.
HOUR, DAY, WEEK = 4, 96, 7 * 96


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


class Parameters(_Model):
    """The parameters that every strategy has."""

    #: Raised whenever the same parameters would give other rows: it is part of the hash.
    METHOD: ClassVar[int] = 3

    horizon: int = Field(gt=0, le=2000, description="Bars until the time barrier.")
    exits: TierExits
    costs: Costs = Field(default_factory=lambda: Costs.model_validate({}))
    breakeven: float = Field(0.001, ge=0, lt=0.1, description="Net returns within this of 0 are class BREAKEVEN.")

    #: Names that parameters had before, by the name of today: still read, and still what the hash is made of.
    FORMER_NAMES: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        return cls.with_names_of_today(values) if isinstance(values, Mapping) else values

    @classmethod
    def with_names_of_today(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` by the names of today. Raises ValueError where a parameter is given by both of its names."""
        renamed = dict(values)
        for name, former in cls.FORMER_NAMES.items():
            if former in renamed:
                if name in renamed:
                    raise ValueError(f"{name} is given twice, also by its former name {former}: give it once")
                renamed[name] = renamed.pop(former)
        return renamed

    @property
    def setup_spacing(self) -> int | None:
        """Bars between two setups of an instrument, at least; None where setups do not keep a distance."""
        return None

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the parameters (names sorted) and of the method."""
        values = {self.FORMER_NAMES.get(name, name): value for name, value in self.model_dump(mode="json").items()}
        text = json.dumps({"strategy": type(self).__name__, "method": self.METHOD, **values}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def exits_by_tier(*values: tuple[float, float]) -> TierExits:
    """Take profit and stop loss of the tiers large, mid and meme."""
    pairs = [Exits(take_profit=profit, stop_loss=loss) for profit, loss in values]
    return TierExits(large=pairs[0], mid=pairs[1], meme=pairs[2])


@dataclass(frozen=True, slots=True)
class SetupBars:
    """What the setups of some instruments are looked for on. Nothing later than a signal bar's close may be used.

    ``enterable``: per instrument and bar of ``panel``, whether a setup may be there at all: the next bar is there to
    enter at, and the indicators are warm. ``halted``: per bar, whether the benchmark's market crashes or panics (of
    strategies that look at it). ``hours``: 1h bars from the same moment on (of strategies that look at them).
    ``tiers``: one for each instrument.
    """

    panel: Panel
    enterable: Flags
    halted: Flags
    hours: Panel | None
    tiers: Sequence[str]

    def at(self, values: Floats, rows: Ints) -> Floats:
        """``values`` (instruments x bars, or bars that count for all instruments) at ``rows`` of the panel."""
        found: Floats = np.broadcast_to(values, self.panel.close.shape)[np.divmod(rows, self.panel.width)]
        return found


@dataclass(frozen=True, slots=True)
class Entries:
    """Setups at their entries, one row each: the entry price, and the exits of the instrument's tier as fractions."""

    setups: pl.DataFrame
    price: Floats
    take_profit: Floats
    stop_loss: Floats


@dataclass(frozen=True, slots=True)
class Barriers:
    """Orders and barriers of setups, one row each.

    ``orders``: prices (setups x orders), highest first, the first at the entry price. ``stop``: below the lowest order.
    ``take_profit``: a price; NaN where it stands above the average entry by the tier's fraction. ``fallback``: whether
    the setup's own barriers had to be replaced by those of the tier.
    """

    orders: Floats
    stop: Floats
    take_profit: Floats
    fallback: Flags


def tier_barriers(entries: Entries, parameters: Parameters) -> Barriers:
    """One order at the entry price, take profit and stop loss by the tier."""
    price = entries.price
    return Barriers(
        orders=price[:, None].copy(),
        stop=price * (1 - entries.stop_loss),
        take_profit=price * (1 + entries.take_profit),
        fallback=np.zeros(len(price), np.bool_),
    )


#: Measures by name. Where they are those of a whole panel: instruments x bars, or bars that count for all instruments.
Measures = Mapping[str, Floats]


def no_more_measures(bars: SetupBars, parameters: Any, measured: Measures, rows: Ints) -> Measures:
    """Of a strategy whose measures are all known of the whole panel."""
    return {}


@dataclass(frozen=True, slots=True)
class StrategyDefinition:
    """One strategy: everything that labels, scanner, assets and settings know of it.

    Its setups are the bars that meet all of its conditions (see ``labels.setups``). A condition that cannot be judged
    because a bar of its window is absent (NaN) is not met.
    """

    #: In a sentence or two, for the description of its asset.
    about: str
    parameters: type[Parameters]
    table: LabelTable
    #: What conditions compare and what setups remember, of every bar of a panel.
    measures: Callable[[SetupBars, Any], Measures]
    #: The conditions of a setup. Those of ``measures`` stand before those of ``measures_at``.
    conditions: tuple[Condition, ...]
    barriers: Callable[[Entries, Any], Barriers] = tier_barriers
    #: Costly measures, only at rows of the panel where all conditions of the others are met (or that are asked for).
    measures_at: Callable[[SetupBars, Any, Measures, Ints], Measures] = no_more_measures
    #: Whether its setups look at the benchmark's market (then it needs one), and at 1h bars.
    uses_benchmark: bool = False
    uses_hours: bool = False
    #: Measures that are known only after the entry, or rest on its price: no model may be given one.
    known_after_entry: frozenset[str] = frozenset()
    #: What differs in the set ``loose``: wider conditions, same barriers, so that models have more to learn from.
    loose: Mapping[str, Any] = field(default_factory=dict)
