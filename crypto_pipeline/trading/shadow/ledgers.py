"""The ledgers of all variants: the same signals through the same simulator, each with its own parameters and cash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints, Panel
from crypto_pipeline.labels.intrabar import MinuteSource, no_minutes
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths, trade_paths
from crypto_pipeline.trading.shadow.variants import VARIANTS
from crypto_pipeline.trading.simulate import simulate

#: Trading parameters on which the path of a trade depends. Variants that agree in them share their paths.
PATH_PARAMETERS = ("stop_factor", "target_factor", "horizon_hours", "trailing", "dca_orders")


@dataclass(frozen=True, slots=True)
class ShadowMarket:
    """What all variants see. ``closed`` and ``minutes``: see ``trade_paths``; ``until``: the last moment (Unix ms;
    None: the panel's end).
    """

    panel: Panel
    signals: pl.DataFrame
    strategies: Mapping[Strategy, Parameters]
    minutes: MinuteSource = no_minutes
    closed: int | None = None
    until: int | None = None


def shadow_ledgers(
    market: ShadowMarket, champion: TradingParameters, begin: int, *, names: Iterable[str] = VARIANTS,
    resets: Sequence[int] = (),
) -> dict[str, Simulation]:  # fmt: skip
    """A simulation per variant, each with a new account before its first moment, the one after ``begin`` (Unix ms).

    ``resets``: moments at which a person reset the halt of production; they reset all.
    """
    paths: dict[tuple[object, ...], TradePaths] = {}
    marks, found = Marks(market.panel), {}
    for name in names:
        parameters = VARIANTS[name].parameters(champion)
        key = tuple(getattr(parameters.of(strategy), field) for strategy in STRATEGIES for field in PATH_PARAMETERS)
        if key not in paths:
            paths[key] = trade_paths(
                market.panel, market.signals, parameters, market.strategies, market.minutes, market.closed
            )
        start = AccountState.begin(parameters, begin)
        found[name] = simulate(market.signals, paths[key], marks, parameters, start, market.until, resets)
    return found


def daily_outcomes(simulation: Simulation, marks: Marks, capital: float) -> pl.DataFrame:
    """What each strategy earned on each whole UTC day: ``strategy``, ``day``, ``net`` and ``trades`` that ended.

    ``net``: after costs, open trades marked at the last close of the day, as a fraction of the equity with which the
    ledger began the day (``capital`` before its first mark). A moment at 00:00 belongs to the day that it ends.
    """
    equity = simulation.equity
    moments = equity["moment"].to_physical().to_numpy()
    if not len(moments):
        return pl.DataFrame(schema=_OUTCOMES)
    first, last = -(-(int(moments[0]) - _STEP) // _DAY), int(moments[-1]) // _DAY
    edges = np.arange(first, last + 1) * _DAY
    if len(edges) < 2:
        return pl.DataFrame(schema=_OUTCOMES)
    held = equity["equity"].cast(pl.Float64).to_numpy()
    place = np.searchsorted(moments, edges[:-1], side="right") - 1
    base = np.where(place >= 0, held[np.maximum(place, 0)], capital)
    days = [date(1970, 1, 1) + timedelta(days=int(edge) // _DAY) for edge in edges[:-1]]
    frames = [
        pl.DataFrame(
            [pl.Series("strategy", [str(strategy)] * len(days)), pl.Series("day", days, pl.Date),
             pl.Series("net", _earned(simulation.fills, str(strategy), edges, marks) / base),
             pl.Series("trades", _ended(simulation.trades, str(strategy), edges), pl.Int32)]
        )
        for strategy in STRATEGIES
    ]  # fmt: skip
    return pl.concat(frames)


_STEP, _DAY = 15 * 60_000, 86_400_000
_OUTCOMES = {"strategy": pl.String(), "day": pl.Date(), "net": pl.Float64(), "trades": pl.Int32()}


def _earned(fills: pl.DataFrame, strategy: str, edges: Ints, marks: Marks) -> Floats:
    """Cash that came in between two edges, and the change of what is held."""
    own = fills.filter(pl.col("strategy") == strategy)
    moments = own["moment"].to_physical().to_numpy()
    cash = -(own["quote"] + own["fee"]).cast(pl.Float64).to_numpy()
    before = np.searchsorted(edges, moments, side="left")
    worth = np.bincount(before, cash, len(edges) + 1).cumsum()[: len(edges)]
    units = own["units"].cast(pl.Float64).to_numpy()
    for instrument in own["instrument"].unique(maintain_order=True).to_list():
        mine = (own["instrument"] == instrument).to_numpy()
        held = np.bincount(before[mine], units[mine], len(edges) + 1).cumsum()[: len(edges)]
        for place in np.flatnonzero(np.abs(held) > 1e-12 * np.abs(units[mine]).sum()).tolist():
            worth[place] += held[place] * (marks.close(instrument, int(edges[place])) or 0.0)
    return np.diff(worth)


def _ended(trades: pl.DataFrame, strategy: str, edges: Ints) -> Ints:
    moments = trades.filter(pl.col("strategy") == strategy)["exit_ts"].to_physical().to_numpy()
    places = np.searchsorted(edges, moments, side="left")
    return np.bincount(places, minlength=len(edges) + 1)[1 : len(edges)]
