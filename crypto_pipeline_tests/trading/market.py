"""The market that a plain `up` generates, its setups and signals, in memory: made once for all tests of trading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.defaults import GENERATED, GENERATED_DAYS
from crypto_pipeline.labels.compute import SetupContext, find_setups
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.universe import choose_instruments, load_universe
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.trading.signals import merged, signals_of

END = datetime(2027, 2, 14, tzinfo=UTC)


@dataclass(frozen=True)
class SignalMarket:
    """Bars of several instruments, what setups look at beside them, and the tiers of the instruments."""

    panel: Panel
    context: SetupContext
    tiers: dict[str, str]

    def setups(self, strategy: Strategy, parameters: Parameters) -> pl.DataFrame:
        """Setups of one strategy, as ``find_setups`` has them."""
        return find_setups(strategy, self.panel, self.context, parameters, self.tiers)

    def signals(self, set_name: str = "default") -> pl.DataFrame:
        """Signals of every strategy under one set of parameters."""
        return merged(
            [
                signals_of(strategy, self.panel, self.setups(strategy, parameters), self.tiers, parameters.hash)
                for strategy, parameters in parameter_sets({})[set_name].items()
            ]
        )


@cache
def generated_market() -> SignalMarket:
    """The default market of 45 days."""
    start, market = END - timedelta(days=GENERATED_DAYS), GeneratedMarket(1, GENERATED)
    tiers = {one.symbol: str(one.tier) for one in choose_instruments(load_universe(), ",".join(GENERATED))}

    def panel(timeframe: Timeframe) -> Panel:
        bars = pl.concat([market.bars(name, timeframe, start, END) for name in GENERATED])
        return Panel.from_bars(bars, GENERATED, start, END, timeframe)

    quarters = panel(Timeframe.M15)
    return SignalMarket(quarters, SetupContext(halts(quarters.close[0]), panel(Timeframe.H1)), tiers)
