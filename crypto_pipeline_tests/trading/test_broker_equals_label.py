"""Without limits the paper broker books exactly what labels say: outcome, end, prices, net return."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import crypto_pipeline.trading.paths as paths_module
from crypto_pipeline.labels.compute import label
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import trade_paths
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline_tests.trading.market import SignalMarket, generated_market

KEY = ["strategy", "instrument", "signal_ts"]
#: Column of a trade by column of a label.
SAME = {
    "outcome": "outcome",
    "label_end_ts": "exit_ts",
    "entry_ts": "entry_ts",
    "entry_px": "entry_price",
    "exit_px": "exit_price",
    "net_return": "net_return",
    "take_profit": "take_profit_price",
    "stop_loss": "stop_loss_price",
    "ambiguous": "ambiguous",
}


def labels_of(market: SignalMarket, set_name: str) -> pl.DataFrame:
    """Labels of every setup whose outcome is known, with the columns of SAME."""
    panel, frames = market.panel, []
    for strategy, parameters in parameter_sets({})[set_name].items():
        found = market.setups(strategy, parameters)
        made = label(strategy, panel, found, parameters, market.tiers)
        frames.append(
            made.select(
                pl.lit(str(strategy)).alias("strategy"),
                pl.Series("instrument", [panel.names[number] for number in found["number"]], dtype=pl.String),
                "signal_ts",
                *SAME,
            )
        )
    return pl.concat(frames).filter(pl.col("outcome").is_not_null())


@pytest.mark.parametrize("set_name", ["default", "loose"])
def test_every_label_is_booked_as_it_is(set_name: str) -> None:
    market, free = generated_market(), TradingParameters(limits=False)
    signals = market.signals(set_name)
    paths = trade_paths(market.panel, signals, free, parameter_sets({})[set_name])
    start = AccountState.begin(free, market.panel.grid.first)
    done = simulate(signals, paths, Marks(market.panel), free, start)
    expected = labels_of(market, set_name).rename({name: f"label_{of}" for name, of in SAME.items()})
    both = done.trades.join(expected, on=KEY, how="full")
    assert both.height == expected.height == done.trades.height > 50
    for booked in SAME.values():
        assert both[booked].equals(both[f"label_{booked}"].alias(booked)), booked
    # The ledger, which knows sums of money only, comes to the same return.
    paid, pnl = both["paid"].cast(pl.Float64), both["pnl"].cast(pl.Float64)
    assert ((pnl / paid - both["net_return"]).abs() < 1e-14).all()


def test_a_trailing_stop_far_away_changes_nothing_and_a_near_one_only_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of the trailing stop is another one than that of labels: with a stop that never rises they agree."""
    market, sets = generated_market(), parameter_sets({})["loose"]
    signals = market.signals("loose")
    still = trade_paths(market.panel, signals, TradingParameters(), sets)
    monkeypatch.setattr(paths_module, "trailing_distance", lambda *_: 0.999)
    far = trade_paths(market.panel, signals, TradingParameters(trailing=True), sets)
    for name in ("outcome", "exit_ts", "exit_price", "net_return", "filled", "average_price", "stop", "fill_raw",
                 "fill_ts", "fill_use"):  # fmt: skip
        np.testing.assert_array_equal(getattr(far, name), getattr(still, name), name)
    monkeypatch.undo()
    near = trade_paths(market.panel, signals, TradingParameters(trailing=True), sets)
    entered = near.entered
    assert (near.stop[entered] >= still.stop[entered]).all()
    assert (near.exit_ts[entered] <= still.exit_ts[entered]).all()
    assert (near.stop[entered] > still.stop[entered]).sum() > 20
