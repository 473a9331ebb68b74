"""What trading costs, by what an order is for: one place for labels, for setups that weigh gain against loss, and for
whatever books trades.

An order that is sent to the market (the first entry, a stop, the end of the horizon) is filled worse than the price at
which it is sent, by the slippage of the tier. An order that rests at a limit (a take profit, a later order of a grid)
is filled at its price or, where the market opens beyond it, at the open: never worse. The fee is paid on both sides.
A stop through which the market opens is sent at the open, and slips from there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from crypto_pipeline.market.instruments import Tier

#: A price or a fraction: float, Decimal or an array of floats, of one kind in one call.
Number: TypeAlias = Any


class OrderUse(IntEnum):
    """What an order is for, which decides how it is filled."""

    ENTRY = 0  # the first one: bought at the market
    GRID = 1  # a later one of a grid: rests at its price
    TAKE_PROFIT = 2  # rests at its price
    STOP = 3  # sold at the market when the stop is touched
    TIME = 4  # sold at the market when the horizon ends

    @property
    def rests(self) -> bool:
        """Whether it lies in the book at a limit instead of being sent to the market."""
        return self in (OrderUse.GRID, OrderUse.TAKE_PROFIT)

    @property
    def buys(self) -> bool:
        """Whether it opens a position; the others close one."""
        return self in (OrderUse.ENTRY, OrderUse.GRID)


class Costs(BaseModel):
    """What trading costs: a fee on each side, and by tier the slippage of what is sent to the market, as fractions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fee: float = Field(0.0026, ge=0, lt=0.1)
    slippage_large: float = Field(0.0008, ge=0, lt=0.1)
    slippage_mid: float = Field(0.0015, ge=0, lt=0.1)
    slippage_meme: float = Field(0.0035, ge=0, lt=0.1)

    def slippage(self, tier: Tier | str) -> float:
        """Slippage of one tier."""
        value: float = getattr(self, f"slippage_{tier}")
        return value


def fill_price(use: OrderUse, price: Number, slippage: Number) -> Number:
    """The price at which an order is filled that becomes due at ``price`` (its limit, its stop, or the open beyond)."""
    if use.rests:
        return price
    return price * (1 + slippage) if use.buys else price * (1 - slippage)


def net_return(paid: Number, received: Number, fee: Number) -> Number:
    """Return on all that was paid, fees included, from the average prices of purchase and sale after slippage."""
    return received * (1 - fee) / (paid * (1 + fee)) - 1


def grid_paid(first: Number, average: Number, filled: Number, slippage: Number) -> Number:
    """Average price paid for ``filled`` orders of equal sums: the first was sent to the market, the others rested.

    ``first``: the price at which the first was sent; ``average``: the average price of all before slippage. Both are
    means of what a unit costs, so they are harmonic.
    """
    rested = filled / average - 1 / first
    return filled / (rested + 1 / fill_price(OrderUse.ENTRY, first, slippage))
