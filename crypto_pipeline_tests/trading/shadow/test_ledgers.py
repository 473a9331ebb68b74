"""Ledgers of variants: that of production is production's, each differs where it says, and days add up."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import polars as pl
import pytest

from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import trade_paths
from crypto_pipeline.trading.shadow.ledgers import ShadowMarket, daily_outcomes, shadow_ledgers
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline_tests.trading.market import generated_market

FRAMES = ("decisions", "orders", "fills", "trades", "postings", "equity")
P = TradingParameters()


@cache
def market() -> ShadowMarket:
    made = generated_market()
    return ShadowMarket(made.panel, made.signals("loose"), parameter_sets({})["loose"])


@cache
def ledgers() -> dict[str, Simulation]:
    return shadow_ledgers(market(), P, market().panel.grid.first)


def trades(name: str, strategy: str) -> pl.DataFrame:
    return ledgers()[name].trades.filter(pl.col("strategy") == strategy)


def test_the_ledger_of_production_is_productions_in_every_field() -> None:
    seen = market()
    alone = simulate(
        seen.signals, trade_paths(seen.panel, seen.signals, P, seen.strategies), Marks(seen.panel), P,
        AccountState.begin(P, seen.panel.grid.first),
    )  # fmt: skip
    for frame in FRAMES:
        assert getattr(ledgers()[CHAMPION], frame).equals(getattr(alone, frame)), frame
    assert alone.trades.height > 50


def test_a_grid_of_as_many_orders_trades_the_same() -> None:
    assert ledgers()["DCA_5"].trades.equals(ledgers()[CHAMPION].trades)
    assert not ledgers()["DCA_3"].trades.equals(ledgers()[CHAMPION].trades)


@pytest.mark.parametrize(("name", "worst"), [(CHAMPION, 288), ("QUICK_EXITS", 96), ("CONSERVATIVE", 288)], ids=str)
def test_trades_end_within_the_horizon_of_the_variant(name: str, worst: int) -> None:
    lengths = (pl.col("exit_ts") - pl.col("entry_ts")).dt.total_minutes() // 15
    longest = ledgers()[name].trades.select(lengths.max()).item()
    assert worst / 2 < longest <= worst


def test_variants_hold_no_more_than_they_may() -> None:
    most = {name: ledgers()[name].equity["open_trades"].max() for name in VARIANTS}
    assert (most["CONSERVATIVE"], most[CHAMPION], most["ML_OFF"]) == (3, 5, 5)
    assert 5 < int(str(most["AGGRESSIVE"])) <= 8


def test_the_filter_of_strategies_works() -> None:
    """DCA variants change trades of DCA; another strategy's trades are of the same path wherever both took them."""
    key = ["instrument", "signal_ts"]
    for strategy in (Strategy.SWING, Strategy.CHANNEL):
        both = trades("DCA_3", strategy).join(trades(CHAMPION, strategy), on=key, suffix="_champion")
        assert both.height > 5
        for column in ("net_return", "exit_ts", "orders_filled", "stop_loss_price"):
            assert both[column].equals(both[f"{column}_champion"].alias(column))
    assert trades("DCA_3", Strategy.DCA)["orders_filled"].max() == 3
    assert trades(CHAMPION, Strategy.DCA)["orders_filled"].max() == 5


def test_days_of_all_strategies_are_the_change_of_equity() -> None:
    done = ledgers()[CHAMPION]
    found = daily_outcomes(done, Marks(market().panel), float(P.capital))
    at_midnight = done.equity.filter(pl.col("moment").dt.truncate("1d") == pl.col("moment"))
    equity = [float(P.capital), *(float(value) for value in at_midnight["equity"])]
    by_day = found.group_by("day", maintain_order=True).agg(pl.col("net").sum()).sort("day")
    expected = [after / before - 1 for before, after in pairwise(equity)]
    assert by_day.height == 45
    assert by_day["net"].to_list() == pytest.approx(expected, abs=1e-12)
    ended = done.trades.filter(pl.col("exit_ts") <= pl.lit(at_midnight["moment"][-1]))
    assert found["trades"].sum() == ended.height


def test_a_change_of_one_strategy_leaves_the_paths_of_others() -> None:
    own = P.changed({"by_strategy": {Strategy.SWING: {"trailing": True}}})
    seen = market()
    changed, plain, all_of_it = (
        trade_paths(seen.panel, seen.signals, parameters, seen.strategies).net_return
        for parameters in (own, P, VARIANTS["TRAILING"].parameters(P))
    )
    swing = (seen.signals["strategy"] == "swing").to_numpy()
    assert changed[swing].tobytes() == all_of_it[swing].tobytes() != plain[swing].tobytes()
    assert changed[~swing].tobytes() == plain[~swing].tobytes()
