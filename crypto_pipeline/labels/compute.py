"""Labels: setups, their barriers, the first barrier that was touched, and uniqueness weights.

All instruments of a panel at once: setups are rare, and whatever is done per instrument costs more than they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.barrier_types import BarrierOutcome, Plans, Results
from crypto_pipeline.labels.barriers import touch
from crypto_pipeline.labels.costs import OrderUse, fill_price, grid_paid, net_return
from crypto_pipeline.labels.intrabar import Ambiguous, MinuteSource, no_minutes
from crypto_pipeline.labels.setups import setups_of
from crypto_pipeline.labels.strategies.base import WARM_UP, Entries, Parameters, SetupBars
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.labels.uniqueness import uniqueness


@dataclass(frozen=True, slots=True)
class SetupContext:
    """What setups look at beside their own 15m bars, over the same time: whether the benchmark's market is halted, per
    15m bar, and the instruments' own 1h bars.
    """

    halted: Flags
    hours: Panel | None = None


def find_setups(
    strategy: Strategy,
    panel: Panel,
    context: SetupContext,
    parameters: Parameters,
    tiers: Mapping[str, str],
    *,
    newest: bool = False,
) -> pl.DataFrame:
    """The setups that could be entered, one row each: ``number`` (of the instrument), ``place``, the own measures.

    Sorted by both. Entry is the open of the very next bar: where that bar is absent nothing can be bought, and there is
    no setup. Nor is there one in the first WARM_UP bars of a series, where indicators still depend on where it begins.
    ``tiers``: by instrument. ``newest``: the last bar of the panel has just closed, and the next may still come. Raises
    TypeError for parameters of another strategy.
    """
    definition = strategy.definition
    if not isinstance(parameters, definition.parameters):
        raise TypeError(f"{strategy} has no setups for {type(parameters).__name__}")
    able = enterable(panel, newest=newest)
    bars = SetupBars(panel, able, context.halted, context.hours, [tiers[name] for name in panel.names])
    return setups_of(definition, bars, parameters)


def enterable(panel: Panel, *, newest: bool = False) -> Flags:
    """Per instrument and bar: the next bar is there to enter at, and WARM_UP bars of the series lie before this one.

    ``newest``: the last bars too, whose next bars are still to come.
    """
    able: Flags = np.zeros(panel.open.shape, np.bool_)
    able[:, :-1] = ~np.isnan(panel.open[:, 1:])
    if newest:
        able[:, -1] = ~np.isnan(panel.open[:, -1])
    able &= np.arange(panel.width) >= panel.first()[:, None] + WARM_UP
    return able


def label(
    strategy: Strategy,
    panel: Panel,
    setups: pl.DataFrame,
    parameters: Parameters,
    tiers: Mapping[str, str],
    minutes: MinuteSource = no_minutes,
) -> pl.DataFrame:
    """A label for every row of ``setups``, in the schema of the strategy's table; ``outcome`` is null where the bars
    end too soon.

    Uniqueness counts all of ``setups``: give every setup whose label may overlap one that is wanted.
    """
    table, numbers = strategy.definition.table, setups["number"].to_numpy()
    own_tiers = [tiers[name] for name in panel.names]
    plans, fallback = make_plans(strategy, panel, setups, parameters, own_tiers)
    results = touch(panel, plans, parameters.horizon, minutes)
    slippage = np.array([parameters.costs.slippage(tier) for tier in own_tiers])[numbers]
    columns = {
        **_times(panel, setups["place"].to_numpy(), results),
        **_returns(plans, results, slippage, parameters),
        "uniqueness": uniqueness(plans.entry, results.bars, panel.width),
        "tier": _words(own_tiers, numbers),
        "fallback": fallback,
        **{name: setups[name] for name in setups.columns if name in table.measures},
    }
    return pl.DataFrame([pl.Series(name, columns[name]).cast(dtype) for name, dtype in table.schema.items()])


def _times(panel: Panel, place: Ints, results: Results) -> dict[str, Any]:
    return {
        "signal_ts": panel.times(place),
        "entry_ts": panel.times(place + 1),
        "label_end_ts": panel.times(place + 1 + results.bars),
    }


def _returns(plans: Plans, results: Results, slippage: Floats, parameters: Parameters) -> dict[str, Any]:
    """Prices, returns and outcomes. ``slippage``: of each event's tier."""
    entry_px = plans.orders[:, 0]
    gross = results.exit_price / results.average_price - 1
    paid = grid_paid(entry_px, results.average_price, results.filled, slippage)
    net = net_return(paid, received(results, slippage), parameters.costs.fee)
    return {
        "entry_px": entry_px,
        "take_profit": results.take_profit,
        "stop_loss": plans.stop,
        "horizon": np.full(len(entry_px), parameters.horizon),
        "outcome": _words(_OUTCOMES, results.outcome),
        "bars_to_touch": results.bars,
        "exit_px": results.exit_price,
        "gross_return": gross,
        "net_return": net,
        "mae": results.lowest / entry_px - 1,
        "mfe": results.highest / entry_px - 1,
        "ambiguous": _words(_AMBIGUOUS, results.ambiguous),
        "outcome_class": _words(_CLASSES, _classes(results, net, parameters.breakeven)),
        "orders_filled": results.filled,
        "average_px": results.average_price,
    }


def received(results: Results, slippage: Floats) -> Floats:
    """What a unit was sold for, by the tier's ``slippage``. Stop and time are sold alike: at the market."""
    rested: Floats = fill_price(OrderUse.TAKE_PROFIT, results.exit_price, slippage)
    sent: Floats = fill_price(OrderUse.STOP, results.exit_price, slippage)
    return np.where(results.outcome == BarrierOutcome.TP, rested, sent)


_OUTCOMES = [None, "TP", "SL", "TIME"]  # in the order of BarrierOutcome
_AMBIGUOUS = [value.word for value in Ambiguous]
_CLASSES = [None, "TIMEOUT", "BREAKEVEN", "WIN", "LOSS"]


def _words(words: list[Any], codes: Ints) -> pl.Series:
    # A list: polars' own gather goes through its threads, which takes milliseconds where cores are busy.
    return pl.Series([words[code] for code in codes.tolist()], dtype=pl.String)


def _classes(results: Results, net: Floats, breakeven: float) -> Ints:
    """Places in _CLASSES."""
    cases = [
        results.outcome == BarrierOutcome.OPEN,
        results.outcome == BarrierOutcome.TIME,
        np.abs(net) <= breakeven,
        net > 0,
    ]
    return np.select(cases, [0, 1, 2, 3], 4)


def make_plans(
    strategy: Strategy, panel: Panel, setups: pl.DataFrame, parameters: Parameters, tiers: Sequence[str]
) -> tuple[Plans, Flags]:
    """Entry bars, orders and barriers of setups, and whether a setup's own barriers had to be replaced.

    ``tiers``: one for each of the panel's instruments.
    """
    numbers, place = setups["number"].to_numpy(), setups["place"].to_numpy() + 1
    begin = numbers * panel.width
    exits = [parameters.exits.of(tier) for tier in tiers]
    profit = np.array([each.take_profit for each in exits])[numbers]
    loss = np.array([each.stop_loss for each in exits])[numbers]
    entries = Entries(setups, panel.open[numbers, place], profit, loss)
    own = strategy.definition.barriers(entries, parameters)
    plans = Plans(begin + place, begin + panel.width, own.orders, own.stop, own.take_profit, profit)
    return plans, own.fallback
