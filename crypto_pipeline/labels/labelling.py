"""Labels of one instrument: setups, their barriers, what touched them first, and how much each is its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.labels import setups
from crypto_pipeline.labels.barriers import MinuteSource, Outcome, Plans, Results, no_minutes, touch
from crypto_pipeline.labels.grid import Floats, Grid, Ints
from crypto_pipeline.labels.minutes import Ambiguous
from crypto_pipeline.labels.parameters import (
    WARM_UP,
    ChannelParameters,
    DcaParameters,
    Parameters,
    Strategy,
    SwingParameters,
)
from crypto_pipeline.labels.uniqueness import uniqueness
from crypto_pipeline.store.label_columns import MEASURES, label_schema


@dataclass(frozen=True, slots=True)
class Context:
    """What setups look at beside their own 15m bars: the benchmark's stress, and the instrument's own 1h bars."""

    stress: pl.DataFrame
    hours: pl.DataFrame


def find_setups(strategy: Strategy, grid: Grid, context: Context, parameters: Parameters, tier: str) -> pl.DataFrame:
    """The setups of one instrument that could be entered: one row each, ``place`` and the setup's own measures.

    Entry is the open of the very next bar: where that bar is absent nothing can be bought, and there is no setup. Nor
    is there one in the first WARM_UP bars of a series, where indicators still depend on where it begins.
    """
    bars = grid.frame()
    match parameters:
        case DcaParameters():
            found = setups.dca(bars, context.stress, parameters)
        case SwingParameters():
            found = setups.swing(bars, context.hours, parameters)
        case ChannelParameters():
            found = setups.channel(bars, parameters.costs.factor(tier), parameters)
        case _:
            raise TypeError(f"{strategy} has no setups for {type(parameters).__name__}")
    entry = found["place"].to_numpy() + 1
    present = (entry < len(grid)) & ~np.isnan(grid.open[np.minimum(entry, len(grid) - 1)])
    warm = entry > grid.first + WARM_UP
    return found.filter(pl.Series(present & warm, dtype=pl.Boolean))


def label(
    strategy: Strategy,
    grid: Grid,
    found: pl.DataFrame,
    parameters: Parameters,
    tier: str,
    minutes: MinuteSource = no_minutes,
) -> pl.DataFrame:
    """A label for every setup in ``found``, in ``label_schema``; ``outcome`` is null where the bars end too soon.

    Uniqueness counts all of ``found``: give every setup whose label may overlap one that is wanted.
    """
    plans, fallback = make_plans(grid, found, parameters, tier)
    results = touch(grid, plans, parameters.horizon, minutes)
    entry_px = plans.orders[:, 0]
    gross = results.exit_price / results.average_price - 1
    net = (1 + gross) * parameters.costs.factor(tier) - 1
    columns: dict[str, Any] = {
        "signal_ts": grid.times(plans.entry - 1),
        "entry_ts": grid.times(plans.entry),
        "entry_px": entry_px,
        "take_profit": results.take_profit,
        "stop_loss": plans.stop,
        "horizon": np.full(len(entry_px), parameters.horizon),
        "outcome": [_WORDS[value] for value in results.outcome.tolist()],
        "label_end_ts": grid.times(plans.entry + results.bars),
        "bars_to_touch": results.bars,
        "exit_px": results.exit_price,
        "gross_return": gross,
        "net_return": net,
        "mae": results.lowest / entry_px - 1,
        "mfe": results.highest / entry_px - 1,
        "ambiguous": [_AMBIGUOUS[value] for value in results.ambiguous.tolist()],
        "uniqueness": uniqueness(plans.entry, results.bars),
        "outcome_class": _classes(results, net, parameters.breakeven),
        "tier": [str(tier)] * len(entry_px),
        "orders_filled": results.filled,
        "average_px": results.average_price,
        "fallback": fallback,
    }
    columns |= {name: found[name] for name in found.columns if name in MEASURES[strategy]}
    schema = label_schema(strategy)
    return pl.DataFrame([_series(name, columns[name], dtype) for name, dtype in schema.items()])


_WORDS = {Outcome.OPEN: None, Outcome.TP: "TP", Outcome.SL: "SL", Outcome.TIME: "TIME"}
_AMBIGUOUS = {value: value.word for value in Ambiguous}


def _series(name: str, values: Any, dtype: pl.DataType) -> pl.Series:
    column = pl.Series(name, values, dtype=None if isinstance(values, np.ndarray | pl.Series) else dtype)
    return column if column.dtype == dtype else column.cast(dtype)


def _classes(results: Results, net: Floats, breakeven: float) -> list[str | None]:
    ends = zip(results.outcome.tolist(), net.tolist(), strict=True)
    return [_class(outcome, value, breakeven) for outcome, value in ends]


def _class(outcome: int, net: float, breakeven: float) -> str | None:
    if outcome == Outcome.OPEN:
        return None
    if outcome == Outcome.TIME:
        return "TIMEOUT"
    if abs(net) <= breakeven:
        return "BREAKEVEN"
    return "WIN" if net > 0 else "LOSS"


def make_plans(grid: Grid, found: pl.DataFrame, parameters: Parameters, tier: str) -> tuple[Plans, list[bool]]:
    """Entry bars, orders and barriers of setups, and whether a channel's own barriers had to be replaced."""
    entry: Ints = found["place"].to_numpy() + 1
    price = grid.open[entry]
    exits = parameters.exits.of(tier)
    unset = np.full(len(entry), np.nan)
    profit = np.full(len(entry), exits.take_profit)
    if isinstance(parameters, DcaParameters):
        orders = price[:, None] * (1 - parameters.step * np.arange(parameters.orders))
        # Nearer of two: below the lowest order, and the tier's stop below the average of the whole grid.
        average = parameters.orders / (1 / orders).sum(axis=1)
        stop = np.maximum(orders[:, -1] * (1 - parameters.stop_below), average * (1 - exits.stop_loss))
        return Plans(entry, orders, stop, unset, profit), [False] * len(entry)
    stop, fixed = price * (1 - exits.stop_loss), price * (1 + exits.take_profit)
    fallback = np.zeros(len(entry), np.bool_)
    if isinstance(parameters, ChannelParameters):
        own_stop, target = found["channel_stop"].to_numpy(), found["target"].to_numpy()
        fallback = ~((own_stop < price) & (price < target))
        stop, fixed = np.where(fallback, stop, own_stop), np.where(fallback, fixed, target)
    return Plans(entry, price[:, None], stop, fixed, profit), fallback.tolist()
