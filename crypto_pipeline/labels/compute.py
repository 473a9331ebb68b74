"""Labels: setups, their barriers, what touched them first, and how much each is its own.

All instruments of a panel at once: setups are rare, and whatever is done per instrument costs more than they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.labels import setups
from crypto_pipeline.labels.barriers import Outcome, Plans, Results, touch
from crypto_pipeline.labels.intrabar import Ambiguous, MinuteSource, no_minutes
from crypto_pipeline.labels.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.parameters import (
    WARM_UP,
    ChannelParameters,
    DcaParameters,
    Parameters,
    Strategy,
    SwingParameters,
)
from crypto_pipeline.labels.uniqueness import uniqueness
from crypto_pipeline.store.research.label_columns import MEASURES, label_schema


@dataclass(frozen=True, slots=True)
class Context:
    """What setups look at beside their own 15m bars, over the same time: whether the benchmark's market is halted, per
    15m bar, and the instruments' own 1h bars.
    """

    halted: Flags
    hours: Panel | None = None


def find_setups(
    strategy: Strategy, panel: Panel, context: Context, parameters: Parameters, tiers: Mapping[str, str]
) -> pl.DataFrame:
    """The setups that could be entered, one row each: ``number`` (of the instrument), ``place``, the own measures.

    Sorted by both. Entry is the open of the very next bar: where that bar is absent nothing can be bought, and there is
    no setup. Nor is there one in the first WARM_UP bars of a series, where indicators still depend on where it begins.
    """
    able = enterable(panel)
    match parameters:
        case DcaParameters():
            found = setups.dca(panel, context.halted, able, parameters)
        case SwingParameters():
            found = setups.swing(panel, context.hours, parameters)
        case ChannelParameters():
            factors = np.array([parameters.costs.factor(tiers[name]) for name in panel.names])
            found = setups.channel(panel, factors, parameters)
        case _:
            raise TypeError(f"{strategy} has no setups for {type(parameters).__name__}")
    return found.filter(pl.Series(able[found["number"].to_numpy(), found["place"].to_numpy()], dtype=pl.Boolean))


def enterable(panel: Panel) -> Flags:
    """Per instrument and bar: the next bar is there to enter at, and WARM_UP bars of the series lie before this one."""
    able: Flags = np.zeros(panel.open.shape, np.bool_)
    able[:, :-1] = ~np.isnan(panel.open[:, 1:])
    able &= np.arange(panel.width) >= panel.first()[:, None] + WARM_UP
    return able


def label(
    strategy: Strategy,
    panel: Panel,
    found: pl.DataFrame,
    parameters: Parameters,
    tiers: Mapping[str, str],
    minutes: MinuteSource = no_minutes,
) -> pl.DataFrame:
    """A label for every setup in ``found``, in ``label_schema``; ``outcome`` is null where the bars end too soon.

    Uniqueness counts all of ``found``: give every setup whose label may overlap one that is wanted.
    """
    numbers = found["number"].to_numpy()
    own_tiers = [tiers[name] for name in panel.names]
    plans, fallback = make_plans(panel, found, parameters, own_tiers)
    results = touch(panel, plans, parameters.horizon, minutes)
    entry_px, place = plans.orders[:, 0], found["place"].to_numpy()
    gross = results.exit_price / results.average_price - 1
    net = (1 + gross) * np.array([parameters.costs.factor(tier) for tier in own_tiers])[numbers] - 1
    columns: dict[str, Any] = {
        "signal_ts": panel.times(place),
        "entry_ts": panel.times(place + 1),
        "entry_px": entry_px,
        "take_profit": results.take_profit,
        "stop_loss": plans.stop,
        "horizon": np.full(len(entry_px), parameters.horizon),
        "outcome": _words(_OUTCOMES, results.outcome),
        "label_end_ts": panel.times(place + 1 + results.bars),
        "bars_to_touch": results.bars,
        "exit_px": results.exit_price,
        "gross_return": gross,
        "net_return": net,
        "mae": results.lowest / entry_px - 1,
        "mfe": results.highest / entry_px - 1,
        "ambiguous": _words(_AMBIGUOUS, results.ambiguous),
        "uniqueness": uniqueness(plans.entry, results.bars, panel.width),
        "outcome_class": _words(_CLASSES, _classes(results, net, parameters.breakeven)),
        "tier": _words(own_tiers, numbers),
        "orders_filled": results.filled,
        "average_px": results.average_price,
        "fallback": fallback,
    }
    columns |= {name: found[name] for name in found.columns if name in MEASURES[strategy]}
    schema = label_schema(strategy)
    return pl.DataFrame([pl.Series(name, columns[name]).cast(dtype) for name, dtype in schema.items()])


_OUTCOMES = [None, "TP", "SL", "TIME"]  # in the order of Outcome
_AMBIGUOUS = [value.word for value in Ambiguous]
_CLASSES = [None, "TIMEOUT", "BREAKEVEN", "WIN", "LOSS"]


def _words(words: list[Any], codes: Ints) -> pl.Series:
    # A list: polars' own gather goes through its threads, which takes milliseconds where cores are busy.
    return pl.Series([words[code] for code in codes.tolist()], dtype=pl.String)


def _classes(results: Results, net: Floats, breakeven: float) -> Ints:
    """Places in _CLASSES."""
    cases = [results.outcome == Outcome.OPEN, results.outcome == Outcome.TIME, np.abs(net) <= breakeven, net > 0]
    return np.select(cases, [0, 1, 2, 3], 4)


def make_plans(panel: Panel, found: pl.DataFrame, parameters: Parameters, tiers: list[str]) -> tuple[Plans, Flags]:
    """Entry bars, orders and barriers of setups, and whether a channel's own barriers had to be replaced.

    ``tiers``: one for each of the panel's instruments.
    """
    numbers, place = found["number"].to_numpy(), found["place"].to_numpy() + 1
    begin = numbers * panel.width
    price = panel.open[numbers, place]
    exits = [parameters.exits.of(tier) for tier in tiers]
    profit = np.array([each.take_profit for each in exits])[numbers]
    loss = np.array([each.stop_loss for each in exits])[numbers]
    fallback = np.zeros(len(place), np.bool_)
    if isinstance(parameters, DcaParameters):
        orders = price[:, None] * (1 - parameters.step * np.arange(parameters.orders))
        # Nearer of two: below the lowest order, and the tier's stop below the average of the whole grid.
        average = parameters.orders / (1 / orders).sum(axis=1)
        stop = np.maximum(orders[:, -1] * (1 - parameters.stop_below), average * (1 - loss))
        fixed = np.full(len(place), np.nan)
    else:
        orders, stop, fixed = price[:, None].copy(), price * (1 - loss), price * (1 + profit)
    if isinstance(parameters, ChannelParameters):
        own_stop, target = found["channel_stop"].to_numpy(), found["target"].to_numpy()
        fallback = ~((own_stop < price) & (price < target))
        stop, fixed = np.where(fallback, stop, own_stop), np.where(fallback, fixed, target)
    return Plans(begin + place, begin + panel.width, orders, stop, fixed, profit), fallback
