"""The account as a fold over moments: fills and ends of trades, marks, guards, decisions, in this order.

A moment is the close of a 15m bar. What the bars that closed by then brought is booked first, then open positions are
marked at their closes and the guards look at the equity, then the signals of the moment are decided, strategy after
strategy and instrument after instrument. A taken signal enters at the open of the next bar, which is booked when that
bar has closed. One call over a span gives the same rows as one call per moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.labels.barrier_types import BarrierOutcome
from crypto_pipeline.labels.costs import OrderUse
from crypto_pipeline.labels.strategies.registry import STRATEGIES
from crypto_pipeline.trading.account import AccountState, OpenTrade, TradeKey
from crypto_pipeline.trading.guards import after_mark, forget_end, note_end, reset
from crypto_pipeline.trading.ledger.booking import BookedFill, bought, sold
from crypto_pipeline.trading.ledger.corrections import Correction
from crypto_pipeline.trading.ledger.records import Records, Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.money import QUANTUM, ZERO, exact, product, unrounded
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths
from crypto_pipeline.trading.risk import Candidate, judge


def simulate(
    signals: pl.DataFrame,
    paths: TradePaths,
    marks: Marks,
    parameters: TradingParameters,
    start: AccountState,
    until: int | None = None,
    resets: Sequence[int] = (),
    corrections: Sequence[Correction] = (),
) -> Simulation:
    """Run the account from ``start`` over every moment after it up to ``until`` (Unix ms; None: the marks' end).

    ``signals`` (SIGNAL_SCHEMA, sorted) are those of the span and of the trades that ``start`` has open; others are left
    out. ``resets``: moments at which a person reset the halt. ``corrections`` are booked first at the first moment;
    their signals are among ``signals``. ``start`` is not changed.
    """
    with unrounded():
        fold = _Fold(signals, paths, marks, parameters, start.copy(), frozenset(resets), corrections)
        fold.run(marks.until if until is None else until)
        return fold.done()


class _Fold:
    """One run. Bookings that are due stand by moment; within one they are booked in the order of their trades."""

    def __init__(
        self, signals: pl.DataFrame, paths: TradePaths, marks: Marks, parameters: TradingParameters,
        state: AccountState, resets: frozenset[int], corrections: Sequence[Correction],
    ) -> None:  # fmt: skip
        self.state, self.records = state, Records(parameters.currency)
        self._paths, self._marks, self._p, self._resets = paths, marks, parameters, resets
        self._of = {str(strategy): parameters.of(strategy) for strategy in STRATEGIES}
        self._hash, self._step, self._winners = parameters.hash, paths.step, ZERO
        self._columns: dict[str, list[Any]] = {name: signals[name].to_list() for name in _USED}
        self._signal_ts: list[int] = signals["signal_ts"].to_physical().to_list()
        own = (self._columns["strategy"], self._columns["instrument"], self._signal_ts)
        self._keys = list(map(TradeKey, *own))
        self._candidates = list(zip(*(self._columns[name] for name in _CANDIDATE), strict=True))
        self._due: dict[int, list[tuple[tuple[int, int, str], int, int]]] = {}
        self._at: dict[int, list[int]] = {}
        self._known_costs: dict[int, tuple[Decimal, Decimal, Decimal]] = {}
        corrected = {each.trade.key: each for each in corrections}
        for row, signal_ts in enumerate(self._signal_ts):
            if signal_ts + self._step > state.moment:
                self._at.setdefault(signal_ts + self._step, []).append(row)
            elif (correction := corrected.get(key := self._key(row))) is not None:
                self._correct(row, correction)
            elif (trade := state.open.get(key)) is not None:
                self._expect(row, trade)

    def _key(self, row: int) -> TradeKey:
        return self._keys[row]

    def run(self, until: int) -> None:
        """Every moment up to ``until``."""
        for moment in range(self.state.moment + self._step, until + 1, self._step):
            self._winners = ZERO
            for _, row, place in sorted(self._due.pop(moment, ())):
                if place < 0:
                    self._miss(moment, row)
                else:
                    self._book(moment, row, place)
            self._mark(moment)
            for row in self._at.get(moment, ()):
                self._decide(moment, row)

    def done(self) -> Simulation:
        """The frames of the run, with the trades that are open at its end."""
        rows = {key: row for row in range(len(self._signal_ts)) if (key := self._key(row)) in self.state.open}
        for trade in self.state.open.values():
            row = rows[trade.key]
            price = self._columns["decision_price"][row]
            self.records.position(
                trade, self._paths, row, price, self._marks.close(trade.key.instrument, self.state.moment)
            )
        return self.records.frames(self.state)

    def _expect(self, row: int, trade: OpenTrade) -> None:
        """Note when what is not booked of a trade yet will be; place -1: its entry was missed."""
        paths, order, soonest = self._paths, trade.key.order, self.state.moment + self._step
        if paths.missed[row]:
            due = max(int(paths.entry_ts[row]) + self._step, soonest)
            self._due.setdefault(due, []).append((order, row, -1))
        for place in range(int(paths.first_fill[row]) + trade.booked, int(paths.first_fill[row + 1])):
            due = max(int(paths.fill_ts[place]) + self._step, soonest)
            self._due.setdefault(due, []).append((order, row, place))

    def _correct(self, row: int, correction: Correction) -> None:
        """Take back the fills that differ, at the first moment; what the bars say instead is booked after them."""
        trade, moment = correction.trade, self.state.moment + self._step
        for number, fill in reversed(correction.standing[correction.first :]):
            taken = fill.reversed()
            self.records.fill(trade.key, trade.number, number, moment, taken)
            self._apply(trade, taken)
            trade.booked, trade.number = trade.booked - 1, trade.number + 1
        if correction.ended:
            forget_end(self.state, trade.key)
            self.records.reopen(trade)
            trade.revision += 1
        trade.reserved = self._costs(row, trade.order_sum)[2] * (trade.orders - trade.booked)
        self.state.open[trade.key] = trade
        self._expect(row, trade)

    def _apply(self, trade: OpenTrade, fill: BookedFill) -> None:
        """What a fill, or what takes one back, changes in the trade and the account."""
        if fill.use.buys:
            trade.paid -= fill.cash
        else:
            trade.received += fill.cash
        trade.units += fill.units
        trade.fees += fill.fee
        trade.slippage += fill.slippage
        self.state.cash += fill.cash

    def _costs(self, row: int, order_sum: Decimal) -> tuple[Decimal, Decimal, Decimal]:
        """Slippage and fee of a trade, and what one of its orders may take of the cash: its sum and its fee."""
        found = self._known_costs.get(row)
        if found is None:
            slippage, fee = exact(self._paths.slippage[row]), exact(self._paths.fee[row])
            found = self._known_costs[row] = slippage, fee, order_sum + product(order_sum, fee) + QUANTUM
        return found

    def _miss(self, moment: int, row: int) -> None:
        trade = self.state.open.pop(self._key(row))
        self.records.order(trade, 0, "cancelled", moment, OrderUse.ENTRY, None)

    def _book(self, moment: int, row: int, place: int) -> None:
        """Book one fill of a trade."""
        paths, trade = self._paths, self.state.open[self._key(row)]
        use, bar_ts, raw = _USES[paths.fill_use[place]], int(paths.fill_ts[place]), float(paths.fill_raw[place])
        slippage, fee, reserve = self._costs(row, trade.order_sum)
        if use.buys:
            fill = bought(use, bar_ts, raw, trade.order_sum, slippage, fee)
            trade.reserved -= reserve
        else:
            fill = sold(use, bar_ts, raw, trade.units, slippage, fee)
        self._apply(trade, fill)
        self.records.fill(trade.key, trade.number, None, moment, fill)
        self._order_events(trade, moment, row, fill)
        trade.booked, trade.number = trade.booked + 1, trade.number + 1
        if not use.buys:
            self._close(trade, row, fill)

    def _close(self, trade: OpenTrade, row: int, fill: BookedFill) -> None:
        del self.state.open[trade.key]
        won = trade.received - trade.paid
        if won > 0:
            self._winners += won - trade.result
        stopped, ended = int(self._paths.outcome[row]) == BarrierOutcome.SL, int(self._paths.exit_ts[row])
        note_end(self.state, trade.key, trade.tier, stopped=stopped, moment=ended)
        self.records.trade(trade, self._paths, row, fill, self._columns["decision_price"][row])

    def _order_events(self, trade: OpenTrade, moment: int, row: int, fill: BookedFill) -> None:
        """What a fill means for the trade's orders: the entry places the others, an end cancels what is left."""
        record, paths, use = self.records.order, self._paths, fill.use
        target, stop = trade.orders, trade.orders + 1
        if use is OrderUse.ENTRY:
            record(trade, 0, "filled", moment, use, float(fill.raw))
            for number in range(1, trade.orders):
                record(trade, number, "placed", moment, OrderUse.GRID, float(paths.orders[row, number]))
            record(trade, target, "placed", moment, OrderUse.TAKE_PROFIT, float(paths.first_target[row]))
            record(trade, stop, "placed", moment, OrderUse.STOP, float(paths.stop[row]))
        elif use is OrderUse.GRID:
            record(trade, trade.booked, "filled", moment, use, float(fill.raw))
        else:
            for number in range(trade.booked, trade.orders):
                record(trade, number, "cancelled", moment, OrderUse.GRID, float(paths.orders[row, number]))
            for number, of in ((target, OrderUse.TAKE_PROFIT), (stop, OrderUse.STOP)):
                ended = use is of
                record(
                    trade, number, "filled" if ended else "cancelled", moment, of, float(fill.raw) if ended else None
                )
            if use is OrderUse.TIME:
                record(trade, trade.orders + 2, "filled", moment, use, float(fill.raw))

    def _mark(self, moment: int) -> None:
        """Value the open trades, bring the guards to the moment, and note the account."""
        state, before = self.state, self.state.equity
        positions = ZERO
        for trade in state.open.values():
            if trade.units:
                close = self._marks.exact_close(trade.key.instrument, moment)
                if close is not None:
                    trade.value = product(trade.units, close)
                trade.result = trade.received - trade.paid + trade.value
                positions += trade.value
        state.moment, state.equity = moment, state.cash + positions
        if moment in self._resets:
            reset(state.guards, state.equity)
        fell = state.equity - before - self._winners < 0
        drawdown = after_mark(state.guards, moment, state.equity, fell=fell, parameters=self._p)
        self.records.mark(state, drawdown)

    def _decide(self, moment: int, row: int) -> None:
        columns, paths, state, key = self._columns, self._paths, self.state, self._key(row)
        planned = float(paths.planned_loss[row]), int(paths.order_count[row]), float(paths.fee[row])
        candidate = Candidate(*planned, *self._candidates[row])
        verdict = judge(candidate, state, moment, self._of[key.strategy])
        tier, price = columns["tier"][row], columns["decision_price"][row]
        self.records.decide(key, moment, tier, price, paths, row, verdict, state, self._hash)
        size = verdict.size
        if size is None:
            return
        reserved = self._costs(row, size.order_sum)[2] * candidate.orders
        trade = OpenTrade(key, tier, size.quote, size.order_sum, candidate.orders, verdict.risk, reserved)
        state.open[key] = trade
        self.records.order(trade, 0, "placed", moment, OrderUse.ENTRY, None)
        self._expect(row, trade)


_USES = list(OrderUse)
#: Columns of signals that a candidate has as they are, in its order.
_CANDIDATE = (
    "strategy", "instrument", "tier", "day_volume", "stress", "regime", "volatility", "strength", "ml_mode",
    "probability", "p_star",
)  # fmt: skip
_USED = (*_CANDIDATE, "decision_price")
