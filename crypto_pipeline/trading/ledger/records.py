"""Rows that a simulation collects, and the frames that they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import polars as pl

from crypto_pipeline.labels.barrier_types import BarrierOutcome
from crypto_pipeline.labels.costs import OrderUse
from crypto_pipeline.labels.intrabar import Ambiguous
from crypto_pipeline.trading.account import AccountState, OpenTrade, TradeKey
from crypto_pipeline.trading.guards import trading_state
from crypto_pipeline.trading.ledger import rows as shapes
from crypto_pipeline.trading.ledger.booking import BookedFill, postings
from crypto_pipeline.trading.ledger.rows import framed
from crypto_pipeline.trading.money import ZERO
from crypto_pipeline.trading.paths import TradePaths
from crypto_pipeline.trading.risk import Verdict

_AMBIGUOUS = [value.word for value in Ambiguous]
_BUYS = {OrderUse.ENTRY, OrderUse.GRID}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What happened in a span, as frames (see ``rows``), and the account at its end, with its open ``positions``.

    ``reopened``: trades whose row no longer holds, because their fills were taken back.
    """

    decisions: pl.DataFrame
    orders: pl.DataFrame
    fills: pl.DataFrame
    trades: pl.DataFrame
    postings: pl.DataFrame
    equity: pl.DataFrame
    positions: pl.DataFrame
    reopened: pl.DataFrame
    state: AccountState


@cache
def base_of(instrument: str) -> str:
    """The base asset of a canonical name: ``BTC`` of ``BTC-USDT`` and of ``BTC-USDT@kraken``."""
    return instrument.partition("@")[0].rpartition("-")[0] or instrument


@dataclass(slots=True)
class Records:
    """Rows in the order in which they are booked; columns as in ``rows``."""

    currency: str
    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    fills: list[tuple[Any, ...]] = field(default_factory=list)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    postings: list[tuple[Any, ...]] = field(default_factory=list)
    equity: list[tuple[Any, ...]] = field(default_factory=list)
    positions: list[tuple[Any, ...]] = field(default_factory=list)
    reopened: list[tuple[Any, ...]] = field(default_factory=list)

    def frames(self, state: AccountState) -> Simulation:
        """All rows as frames."""
        return Simulation(
            framed(self.decisions, shapes.DECISION_SCHEMA), framed(self.orders, shapes.ORDER_SCHEMA),
            framed(self.fills, shapes.FILL_SCHEMA), framed(self.trades, shapes.TRADE_SCHEMA),
            framed(self.postings, shapes.POSTING_SCHEMA), framed(self.equity, shapes.EQUITY_SCHEMA),
            framed(self.positions, shapes.POSITION_SCHEMA), framed(self.reopened, shapes.REOPENED_SCHEMA), state,
        )  # fmt: skip

    def decide(
        self, key: TradeKey, moment: int, tier: str, price: float, paths: TradePaths, row: int, verdict: Verdict,
        state: AccountState, parameters_hash: str,
    ) -> None:  # fmt: skip
        """What was decided of the signal at ``row`` of ``paths``."""
        hit, size = verdict.rejection, verdict.size
        rejected = (None, None, None) if hit is None else (hit.limit, hit.value, hit.threshold)
        sums = (None, None) if size is None else (size.quote, size.order_sum)
        bound = (None, None) if size is None else (size.bound_by, size.factor)
        self.decisions.append((
            *key, moment, tier, size is not None, *rejected, price, float(paths.planned_stop[row]),
            float(paths.planned_target[row]), float(paths.planned_loss[row]), sums[0], sums[1],
            int(paths.order_count[row]), verdict.risk, bound[0], bound[1], verdict.model_factor, state.equity,
            verdict.free_cash, parameters_hash,
        ))  # fmt: skip

    def order(self, trade: OpenTrade, number: int, event: str, moment: int, use: OrderUse, price: float | None) -> None:
        """Something that happened to one order of a trade."""
        quote = trade.order_sum if use in _BUYS else None
        self.orders.append((*trade.key, number, event, moment, use.name, price, quote))

    def fill(self, key: TradeKey, number: int, reverses: int | None, moment: int, fill: BookedFill) -> None:
        """A fill, or what takes one back, with its postings."""
        self.fills.append((
            *key, number, reverses, moment, fill.bar_ts, fill.use.name, float(fill.raw), fill.price, fill.units,
            fill.quote, fill.fee, fill.slippage,
        ))  # fmt: skip
        for account, currency, amount in postings(fill, base_of(key.instrument), self.currency):
            self.postings.append((*key, number, moment, account, currency, amount))

    def reopen(self, trade: OpenTrade) -> None:
        """The row of a trade that ended no longer holds."""
        self.reopened.append((*trade.key, trade.revision))

    def position(self, trade: OpenTrade, paths: TradePaths, row: int, price: float, mark: float | None) -> None:
        """A trade that is open at the end. ``price``: of the decision; ``mark``: the last close."""
        there = bool(paths.entered[row])
        known = (paths.orders[row, 0], paths.average_price[row], paths.stop[row], paths.take_profit[row])
        self.positions.append((
            *trade.key, trade.revision, trade.tier, int(paths.entry_ts[row]), trade.size, trade.order_sum, trade.orders,
            trade.risk, trade.reserved, trade.booked, trade.number, trade.units, trade.paid, trade.received, trade.fees,
            trade.slippage, trade.value, trade.result, price, *(float(one) if there else None for one in known), mark,
        ))  # fmt: skip

    def trade(self, trade: OpenTrade, paths: TradePaths, row: int, last: BookedFill, price: float) -> None:
        """A trade that ended. ``last``: the fill that sold everything. ``price``: of the decision."""
        self.trades.append((
            *trade.key, trade.revision, trade.tier, int(paths.entry_ts[row]), int(paths.exit_ts[row]),
            BarrierOutcome(int(paths.outcome[row])).name, _AMBIGUOUS[int(paths.ambiguous[row])],
            int(paths.filled[row]), trade.size, -last.units, price, float(paths.orders[row, 0]),
            float(paths.average_price[row]), float(paths.exit_price[row]), float(paths.stop[row]),
            float(paths.take_profit[row]), trade.paid, trade.received, trade.fees, trade.slippage,
            trade.received - trade.paid, float(paths.net_return[row]),
        ))  # fmt: skip

    def mark(self, state: AccountState, drawdown: float) -> None:
        """The account after a moment's bookings and marks."""
        guards, moment = state.guards, state.moment
        reserved = risk = positions = ZERO
        for each in state.open.values():
            reserved, risk, positions = reserved + each.reserved, risk + each.risk, positions + each.value
        self.equity.append((
            moment, state.cash, reserved, positions, state.equity, len(state.open), risk, guards.day_mark,
            guards.week_mark, guards.high_water, drawdown,
            trading_state(guards, moment).value, guards.daily_until or None, guards.weekly_until or None,
            guards.halt_until or None, guards.drawn, guards.needs_reset,
        ))  # fmt: skip
