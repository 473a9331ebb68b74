"""Paths of trades: what becomes of every signal, bar by bar, whatever the size of the trade.

All signals go through the labels' own plans and barriers at once, so that a trade ends when, where and at what net
return its label does. Which signals are taken, and how large, is decided elsewhere and changes no path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.barrier_types import BarrierOutcome, PathBars, Plans, Results
from crypto_pipeline.labels.barriers import touch
from crypto_pipeline.labels.compute import make_plans, received
from crypto_pipeline.labels.costs import OrderUse, fill_price, grid_paid, net_return
from crypto_pipeline.labels.intrabar import MinuteSource, no_minutes
from crypto_pipeline.labels.strategies.base import Entries, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.trading.parameters import TradingParameters, trailing_distance
from crypto_pipeline.trading.signals import MEASURE

#: The use of the order that ends a trade, by outcome.
EXIT_USE = {
    BarrierOutcome.TP: OrderUse.TAKE_PROFIT,
    BarrierOutcome.SL: OrderUse.STOP,
    BarrierOutcome.TIME: OrderUse.TIME,
}


@dataclass(frozen=True, slots=True)
class TradePaths:
    """A path per signal, in the order of the frame of signals. Times are Unix milliseconds, prices those of bars.

    ``entered``: the entry bar is there; the other arrays of paths mean nothing where it is not. ``missed``: it is
    known to be absent; where both are false it is still to come. ``outcome``: a BarrierOutcome, OPEN while the bars
    end before. ``exit_ts``: the close of the bar in which it ended. ``orders``: prices, NaN beyond the trade's own.
    ``take_profit``: as it stood at the end, ``first_target``: at the entry. ``net_return``: as in labels, NaN while
    open. ``order_count``, ``planned_…``: as planned at the decision price, before the entry is known;
    ``planned_loss``: the part of the size that is lost, costs included, where all orders are filled and the stop is
    touched.

    Fills, behind each other, by signal and time: ``fill_signal`` (row of the signal), ``fill_ts`` (open of the bar),
    ``fill_use`` (OrderUse), ``fill_raw`` (price before slippage), ``fill_price`` (after it); ``first_fill`` has where
    those of a signal begin, one place more than there are signals. The exit is the last one.
    """

    entered: Flags
    missed: Flags
    entry_ts: Ints
    outcome: Ints
    exit_ts: Ints
    exit_price: Floats
    net_return: Floats
    ambiguous: Ints
    filled: Ints
    average_price: Floats
    orders: Floats
    stop: Floats
    take_profit: Floats
    first_target: Floats
    slippage: Floats
    fee: Floats
    order_count: Ints
    planned_stop: Floats
    planned_target: Floats
    planned_loss: Floats
    first_fill: Ints
    fill_signal: Ints
    fill_ts: Ints
    fill_use: Ints
    fill_raw: Floats
    fill_price: Floats
    step: int

    def __len__(self) -> int:
        return len(self.entry_ts)


def trade_paths(
    panel: Panel,
    signals: pl.DataFrame,
    parameters: TradingParameters,
    strategies: Mapping[Strategy, Parameters],
    minutes: MinuteSource = no_minutes,
    closed: int | None = None,
) -> TradePaths:
    """The paths of ``signals`` (SIGNAL_SCHEMA) over the 15m bars of ``panel``.

    The panel begins at the first signal bar or before. ``strategies``: the parameters of the traded set; what
    ``parameters`` changes of them is laid upon it. ``minutes`` decide bars that could end a trade in two ways.
    ``closed``: so many bars of the panel are all that will come of them (Unix ms of the first bar that may still
    change; None: the whole panel), which tells an entry that was missed from one that is still to come.
    """
    build = _Builder(panel, len(signals))
    known = panel.grid.first + panel.grid.step * panel.width if closed is None else closed
    numbers = {name: number for number, name in enumerate(panel.names)}
    for strategy in Strategy:
        rows = np.flatnonzero((signals["strategy"] == str(strategy)).to_numpy())
        if len(rows):
            own = signals[rows]
            setups = _setups(strategy, own, numbers, panel)
            asked = parameters.of(strategy)
            changed = asked.strategy_parameters(strategy, strategies[strategy])
            build.add(rows, strategy, setups, own, changed, asked, minutes, known)
    return build.done()


def joined_paths(parts: Sequence[tuple[Ints, TradePaths]]) -> TradePaths:
    """Paths that were made apart, as those of one frame of signals: each part with the rows at which its signals
    stand there. There is at least one.
    """
    count = sum(len(rows) for rows, _ in parts)
    width = max(paths.orders.shape[1] for _, paths in parts)
    arrays: dict[str, Any] = {}
    for name in (*_FLOATS, *_INTS, *_FLAGS):
        whole = np.empty(count, getattr(parts[0][1], name).dtype)
        for rows, paths in parts:
            whole[rows] = getattr(paths, name)
        arrays[name] = whole
    orders = np.full((count, width), np.nan)
    for rows, paths in parts:
        orders[rows, : paths.orders.shape[1]] = paths.orders
    signal = np.concatenate([rows[paths.fill_signal] for rows, paths in parts])
    order = np.argsort(signal, kind="stable")
    fills = {
        name: np.concatenate([getattr(paths, name) for _, paths in parts])[order]
        for name in ("fill_ts", "fill_use", "fill_raw", "fill_price")
    }
    counts = np.bincount(signal, minlength=count)
    first = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    return TradePaths(
        **arrays, **fills, orders=orders, first_fill=first, fill_signal=signal[order], step=parts[0][1].step
    )


def _setups(strategy: Strategy, signals: pl.DataFrame, numbers: Mapping[str, int], panel: Panel) -> pl.DataFrame:
    """Signals in the form in which setups are found: ``number``, ``place``, measures; ``place`` in ascending order."""
    place = (pl.col("signal_ts").to_physical() - panel.grid.first) // panel.grid.step
    measures = [pl.col(name).alias(name.removeprefix(MEASURE)) for name in signals.columns if name.startswith(MEASURE)]
    number = pl.col("instrument").replace_strict(numbers, return_dtype=pl.Int64)
    return signals.select(number.alias("number"), place.alias("place"), *measures)


class _Builder:
    """Arrays of paths, filled strategy by strategy."""

    def __init__(self, panel: Panel, count: int) -> None:
        self._panel, self._count = panel, count
        self._floats: dict[str, Floats] = {}
        self._ints: dict[str, Ints] = {}
        self._orders: Floats = np.full((count, 1), np.nan)
        self._fills: list[tuple[Ints, Ints, Ints, Floats, Floats]] = []

    def _put(self, rows: Ints, values: Mapping[str, Floats | Ints]) -> None:
        for name, value in values.items():
            if name in _FLOATS:
                self._floats.setdefault(name, np.full(self._count, np.nan))[rows] = value
            else:
                self._ints.setdefault(name, np.zeros(self._count, np.int64))[rows] = value

    def _put_orders(self, rows: Ints, orders: Floats) -> None:
        if orders.shape[1] > self._orders.shape[1]:
            more = np.full((self._count, orders.shape[1] - self._orders.shape[1]), np.nan)
            self._orders = np.concatenate((self._orders, more), axis=1)
        self._orders[rows, : orders.shape[1]] = orders

    def add(
        self, rows: Ints, strategy: Strategy, setups: pl.DataFrame, signals: pl.DataFrame, own: Parameters,
        parameters: TradingParameters, minutes: MinuteSource, known: int,
    ) -> None:  # fmt: skip
        """The signals of one strategy, which stand at ``rows`` of the frame of signals."""
        tiers = signals["tier"].to_list()
        slippage = np.array([own.costs.slippage(tier) for tier in tiers])
        price = signals["decision_price"].to_numpy()
        self._put(rows, _planned(strategy, setups, price, tiers, slippage, own, parameters))
        number, place = setups["number"].to_numpy(), setups["place"].to_numpy() + 1
        inside = place < self._panel.width
        there = inside & ~np.isnan(self._panel.open[number, np.minimum(place, self._panel.width - 1)])
        entry_ts = self._panel.times(place)
        missed = ~there & (entry_ts < known)
        shared = {"entry_ts": entry_ts, "entered": there, "missed": missed, "slippage": slippage}
        self._put(rows, {**shared, "fee": np.full(len(rows), own.costs.fee)})
        entered = np.flatnonzero(there)
        if not len(entered):
            return
        plans, results, stop = _followed(
            strategy, self._panel, setups[entered], [tiers[row] for row in entered.tolist()], own, parameters, minutes
        )
        self._put_orders(rows[entered], plans.orders)
        self._put(rows[entered], _outcomes(self._panel, plans, results, stop, slippage[entered], own))
        self._fills.append(_fills(self._panel, rows[entered], plans, results, slippage[entered]))

    def done(self) -> TradePaths:
        """The paths, with fills in order."""
        parts: list[Any] = [np.zeros(0, np.int64)] * 3 + [np.zeros(0)] * 2
        if self._fills:
            parts = [np.concatenate(columns) for columns in zip(*self._fills, strict=True)]
        order = np.argsort(parts[0], kind="stable")
        signal, ts, use, raw, price = (part[order] for part in parts)
        counts = np.bincount(signal, minlength=self._count)
        arrays: dict[str, Any] = {name: self._floats.get(name, np.full(self._count, np.nan)) for name in _FLOATS}
        arrays |= {name: self._ints.get(name, np.zeros(self._count, np.int64)) for name in _INTS}
        arrays |= {name: self._ints.get(name, np.zeros(self._count, np.int64)) > 0 for name in _FLAGS}
        return TradePaths(
            **arrays, orders=self._orders, first_fill=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
            fill_signal=signal, fill_ts=ts, fill_use=use, fill_raw=raw, fill_price=price, step=self._panel.grid.step,
        )  # fmt: skip


_FLOATS = (
    "exit_price", "net_return", "average_price", "stop", "take_profit", "first_target", "slippage", "fee",
    "planned_stop", "planned_target", "planned_loss",
)  # fmt: skip
_INTS = ("entry_ts", "outcome", "exit_ts", "ambiguous", "filled", "order_count")
_FLAGS = ("entered", "missed")


def _scaled(
    orders: Floats, stop: Floats, target: Floats, profit: Floats, parameters: TradingParameters
) -> tuple[Floats, Floats, Floats]:
    """Stop, take profit and profit with the factors of ``parameters``; untouched, to the bit, where these are 1."""
    entry, lowest = orders[:, 0], orders[:, -1]
    if parameters.stop_factor != 1:
        stop = lowest - (lowest - stop) * parameters.stop_factor
    if parameters.target_factor != 1:
        target, profit = entry + (target - entry) * parameters.target_factor, profit * parameters.target_factor
    return stop, target, profit


def _planned(
    strategy: Strategy, setups: pl.DataFrame, price: Floats, tiers: list[str], slippage: Floats, own: Parameters,
    parameters: TradingParameters,
) -> dict[str, Floats | Ints]:  # fmt: skip
    """The plan as it stands at the decision, where the entry price is not known yet: the decision price stands for it.

    The loss is that of the whole grid at its stop, with all costs.
    """
    exits = [own.exits.of(tier) for tier in tiers]
    profit, loss = np.array([one.take_profit for one in exits]), np.array([one.stop_loss for one in exits])
    plan = strategy.definition.barriers(Entries(setups, price, profit, loss), own)
    stop, target, profit = _scaled(plan.orders, plan.stop, plan.take_profit, profit, parameters)
    count = plan.orders.shape[1]
    average = count / (1 / plan.orders).sum(axis=1)
    paid = grid_paid(price, average, count, slippage)
    net = net_return(paid, fill_price(OrderUse.STOP, stop, slippage), own.costs.fee)
    return {
        "order_count": np.full(len(price), count),
        "planned_stop": stop,
        "planned_target": np.where(np.isnan(target), average * (1 + profit), target),
        "planned_loss": -net,
    }


def _followed(
    strategy: Strategy, panel: Panel, setups: pl.DataFrame, tiers: list[str], own: Parameters,
    parameters: TradingParameters, minutes: MinuteSource,
) -> tuple[Plans, Results, Floats]:  # fmt: skip
    """Plans of setups that are entered, what became of them, and their stops at the end."""
    of_instrument = dict(zip(setups["number"].to_list(), tiers, strict=True))
    plans, _ = make_plans(
        strategy, panel, setups, own, [of_instrument.get(number, tiers[0]) for number in range(len(panel.names))]
    )
    stop, target, profit = _scaled(plans.orders, plans.stop, plans.take_profit, plans.profit, parameters)
    plans = plans._replace(stop=stop, take_profit=target, profit=profit)
    if not parameters.trailing:
        return plans, touch(panel, plans, own.horizon, minutes), stop
    distance = np.array([trailing_distance(strategy, tier, own.exits) for tier in tiers])
    results, stop = _trailed(panel, plans, distance, own.horizon)
    return plans, results, stop


def _trailed(panel: Panel, plans: Plans, distance: Floats, horizon: int) -> tuple[Results, Floats]:
    from crypto_pipeline.trading.path_loops import trail  # late: numba takes half a second to import

    count = len(plans.entry)
    whole, prices = np.zeros((count, 4), np.int64), np.zeros((count, 4))
    bars = PathBars(*(column.ravel() for column in (panel.open, panel.high, panel.low, panel.close)))
    trail(
        bars, plans, distance, horizon, whole, prices
    )  # fmt: skip
    results = Results.at_entry(plans)._replace(
        outcome=whole[:, 0].copy(), bars=whole[:, 1].copy(), filled=whole[:, 2].copy(), ambiguous=whole[:, 3].copy(),
        exit_price=prices[:, 0].copy(), average_price=prices[:, 1].copy(), take_profit=prices[:, 2].copy(),
    )  # fmt: skip
    return results, prices[:, 3].copy()


def _outcomes(
    panel: Panel, plans: Plans, results: Results, stop: Floats, slippage: Floats, own: Parameters
) -> dict[str, Floats | Ints]:
    first = plans.orders[:, 0]
    paid = grid_paid(first, results.average_price, results.filled, slippage)
    return {
        "outcome": results.outcome,
        "exit_ts": panel.times(plans.entry % panel.width + results.bars),
        "exit_price": results.exit_price,
        "net_return": net_return(paid, received(results, slippage), own.costs.fee),
        "ambiguous": results.ambiguous,
        "filled": results.filled,
        "average_price": results.average_price,
        "stop": stop,
        "take_profit": results.take_profit,
        "first_target": np.where(np.isnan(plans.take_profit), first * (1 + plans.profit), plans.take_profit),
    }


def _fills(
    panel: Panel, rows: Ints, plans: Plans, results: Results, slippage: Floats
) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """Signal row, open of the bar, use, price before and after slippage of every fill; those of a signal in order."""
    from crypto_pipeline.trading.path_loops import buys  # late: numba takes half a second to import

    total = int(results.filled.sum())
    at, raw = np.zeros(total, np.int64), np.zeros(total)
    buys(panel.open.ravel(), panel.low.ravel(), plans.entry, plans.orders, results.filled, at, raw)
    event = np.repeat(np.arange(len(rows)), results.filled)
    begin = np.cumsum(results.filled) - results.filled
    use = np.where(np.arange(total) == begin[event], int(OrderUse.ENTRY), int(OrderUse.GRID))
    entry_price = fill_price(OrderUse.ENTRY, raw, slippage[event])
    price = np.where(use == int(OrderUse.ENTRY), entry_price, raw)
    ended = np.flatnonzero(results.outcome != BarrierOutcome.OPEN)
    exit_use = np.array([0, *(int(use) for use in EXIT_USE.values())])[results.outcome[ended]]
    signal = np.concatenate((rows[event], rows[ended]))
    order = np.argsort(signal, kind="stable")  # stable: the exit of a signal stays behind its purchases
    closes = plans.entry[ended] % panel.width + results.bars[ended] - 1
    columns: tuple[Any, ...] = (
        signal,
        panel.times(np.concatenate((at % panel.width, closes))),
        np.concatenate((use, exit_use)),
        np.concatenate((raw, results.exit_price[ended])),
        np.concatenate((price, received(results, slippage)[ended])),
    )
    ordered: tuple[Ints, Ints, Ints, Floats, Floats] = tuple(column[order] for column in columns)
    return ordered
