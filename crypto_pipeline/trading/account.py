"""The state of an account after a moment: cash, open trades, marks of the guards, stops of the instruments.

It is what the ledger says at that moment and nothing else, so that a restart begins where the process before ended.
Times are Unix milliseconds. A moment is the close of a 15m bar.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from crypto_pipeline.trading.money import ZERO
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.signals import STRATEGY_ORDER


class TradeKey(NamedTuple):
    """What a signal and its trade are known by."""

    strategy: str
    instrument: str
    signal_ts: int

    @property
    def order(self) -> tuple[int, int, str]:
        """By which signals of a moment are decided and trades are booked."""
        return self.signal_ts, STRATEGY_ORDER[self.strategy], self.instrument


@dataclass(slots=True)
class OpenTrade:
    """A trade that was taken and has not ended.

    ``size``: what all of its ``orders`` together spend, fees apart; ``order_sum``: each of them. ``risk``: what is lost
    where all are filled and the stop is touched. ``reserved``: cash that is kept for orders that are not filled yet,
    with fees. ``booked``: fills so far; ``number``: events so far, reversals included. ``value``: of ``units`` at the
    last mark; ``result``: what had been won or lost by then. ``revision``: how often it was booked anew after its end.
    """

    key: TradeKey
    tier: str
    size: Decimal
    order_sum: Decimal
    orders: int
    risk: Decimal
    reserved: Decimal
    booked: int = 0
    number: int = 0
    units: Decimal = ZERO
    paid: Decimal = ZERO
    received: Decimal = ZERO
    fees: Decimal = ZERO
    slippage: Decimal = ZERO
    value: Decimal = ZERO
    result: Decimal = ZERO
    revision: int = 0

    @property
    def exposure(self) -> Decimal:
        """Value of what is held and cash that is reserved."""
        return self.value + self.reserved


@dataclass(slots=True)
class GuardState:
    """Marks and blocks of the guards. Blocks are moments until which nothing is entered (0: none).

    ``drawn``: the drawdown has reached its halt and not been below it since. ``needs_reset``: a person must reset it.
    """

    day_mark: Decimal
    week_mark: Decimal
    high_water: Decimal
    daily_until: int = 0
    weekly_until: int = 0
    halt_until: int = 0
    drawn: bool = False
    needs_reset: bool = False


class TradeEnd(NamedTuple):
    """How a trade of an instrument ended: when (Unix ms), and whether at its stop."""

    exit_ts: int
    order: tuple[int, int, str]
    stopped: bool
    tier: str


@dataclass(slots=True)
class AccountState:
    """An account after ``moment`` (the last one that was processed). ``ends``: by instrument, the last trades that
    ended, in order.
    """

    moment: int
    cash: Decimal
    equity: Decimal
    guards: GuardState
    open: dict[TradeKey, OpenTrade] = field(default_factory=dict)
    ends: dict[str, tuple[TradeEnd, ...]] = field(default_factory=dict)

    @classmethod
    def begin(cls, parameters: TradingParameters, moment: int) -> AccountState:
        """A new account, before its first moment, which is the one after ``moment``."""
        capital = parameters.capital
        return cls(moment, capital, capital, GuardState(capital, capital, capital))

    def copy(self) -> AccountState:
        """A copy that shares nothing that changes."""
        return AccountState(
            self.moment, self.cash, self.equity, copy(self.guards),
            {key: copy(trade) for key, trade in self.open.items()},
            dict(self.ends),
        )  # fmt: skip

    @property
    def reserved(self) -> Decimal:
        """Cash that is kept for orders."""
        return sum((trade.reserved for trade in self.open.values()), ZERO)

    @property
    def exposure(self) -> Decimal:
        """Value of open positions and what is reserved."""
        return sum((trade.exposure for trade in self.open.values()), ZERO)

    @property
    def open_risk(self) -> Decimal:
        """What is lost where every open trade is stopped."""
        return sum((trade.risk for trade in self.open.values()), ZERO)
