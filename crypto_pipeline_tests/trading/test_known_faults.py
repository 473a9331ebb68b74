"""Faults that are known from other systems that trade on paper: each would show here."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import trade_paths
from crypto_pipeline.trading.signals import SIGNAL_SCHEMA
from crypto_pipeline.trading.simulate import simulate

START = datetime(2026, 3, 3, tzinfo=UTC)
NAME = "PEPE-USDT"
Bar = tuple[float, float, float, float]


def traded(bars: list[Bar | None], strategy: str = "swing", scale: float = 1.0, **parameters: object) -> Simulation:
    """An account that takes one signal on the first bar; ``bars``: open, high, low, close of each, or None: absent."""
    rows = [
        (NAME, START + number * TIMEFRAME.delta, *(price * scale for price in bar), 1e9 / scale)
        for number, bar in enumerate(bars) if bar is not None
    ]  # fmt: skip
    names = ["instrument", "open_time", "open", "high", "low", "close", "volume"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("open_time").cast(UTC_MS))
    panel = Panel.from_bars(frame, [NAME], START, START + len(bars) * TIMEFRAME.delta, TIMEFRAME)
    values = {
        "strategy": strategy, "instrument": NAME, "signal_ts": START, "tier": "large", "day_volume": 1e9,
        "decision_price": float(panel.close[0, 0]), "stress": 0, "params_hash": "p",
    }  # fmt: skip
    signals = pl.DataFrame([values], schema=SIGNAL_SCHEMA)
    made = TradingParameters.model_validate(parameters)
    paths = trade_paths(panel, signals, made, parameter_sets({})["default"])
    return simulate(signals, paths, Marks(panel), made, AccountState.begin(made, panel.grid.first))


FLAT: Bar = (100.0, 100.5, 99.5, 100.0)


def test_a_gap_through_the_stop_is_filled_at_the_open_not_at_the_stop() -> None:
    trade = traded([FLAT, FLAT, (90.0, 91.0, 89.0, 90.5), FLAT]).trades.row(0, named=True)
    assert trade["stop_loss_price"] == 96.0
    assert (trade["outcome"], trade["exit_price"]) == ("SL", 90.0)
    sold = traded([FLAT, FLAT, (90.0, 91.0, 89.0, 90.5)]).fills.row(1, named=True)
    assert sold["price"] == Decimal("90.0") * (1 - Decimal("0.0008"))


def test_a_stop_is_filled_at_its_price_and_never_at_a_price_of_before() -> None:
    trade = traded([FLAT, FLAT, None, None, (99.0, 99.5, 95.0, 98.0)]).trades.row(0, named=True)
    assert (trade["outcome"], trade["exit_price"]) == ("SL", 96.0)
    assert trade["exit_ts"] == START + 5 * TIMEFRAME.delta


def test_entries_that_are_added_leave_the_stop_where_it_is() -> None:
    falling: list[Bar | None] = [FLAT, (100.0, 100.2, 97.5, 98.0), (98.0, 98.0, 95.9, 96.0), FLAT]
    made = traded(falling, "dca")
    position = made.positions.row(0, named=True)
    assert made.fills["use"].to_list() == ["ENTRY", "GRID", "GRID", "GRID", "GRID"]
    stops = made.orders.filter((pl.col("use") == "STOP") & (pl.col("event") == "placed"))["price"].to_list()
    assert stops == [position["stop_loss_price"]]
    assert position["stop_loss_price"] < 96.0


def test_cash_is_neither_forgotten_nor_counted_twice() -> None:
    """What orders of a grid keep is freed when the trade ends, once; what is bought is paid once."""
    made = traded([FLAT, FLAT, (100.0, 106.0, 100.0, 105.0), FLAT], "dca")
    assert made.trades["outcome"].to_list() == ["TP"]
    assert made.trades["orders_filled"].to_list() == [1]
    assert made.equity["reserved"].to_list()[-1] == 0
    assert made.equity["cash"][-1] == made.equity["equity"][-1] == Decimal(10_000) + made.trades["pnl"][0]
    decided = made.decisions.row(0, named=True)
    in_between = made.equity.row(1, named=True)  # the entry has closed, four orders wait
    assert in_between["reserved"] == pytest.approx(decided["order_sum"] * 4 * Decimal("1.0026"), abs=Decimal("1e-6"))


@pytest.mark.parametrize("scale", [1.0, 1e-8, 650.0])
def test_prices_of_any_size_survive(scale: float) -> None:
    """The same path a hundred million times cheaper wins the same part, to the last digit that floats have."""
    made = traded([FLAT, FLAT, (100.0, 104.9, 100.0, 104.0), (104.0, 106.0, 103.0, 105.0)], scale=scale)
    trade = made.trades.row(0, named=True)
    assert trade["outcome"] == "TP"
    assert trade["entry_price"] == 100.0 * scale
    assert made.fills["raw_price"][0] == 100.0 * scale
    assert float(trade["pnl"] / trade["paid"]) == pytest.approx(trade["net_return"], abs=1e-14)


def test_a_trade_whose_entry_bar_never_comes_is_cancelled_and_frees_its_cash() -> None:
    made = traded([FLAT, None, FLAT, FLAT])
    assert made.orders["event"].to_list() == ["placed", "cancelled"]
    assert made.fills.is_empty()
    assert made.equity["reserved"].to_list()[-1] == 0
    assert (made.equity["equity"] == Decimal(10_000)).all()


def test_a_winning_trade_sets_off_no_guard_even_where_equity_falls() -> None:
    """It was worth far more at the mark before its end; a guard that looks at equity alone would halt."""
    up: list[Bar | None] = [FLAT, (100.0, 100.5, 99.5, 100.2), *[(104.0, 104.8, 103.0, 104.8)] * 190,
                            (104.0, 104.0, 101.5, 102.0),
                            FLAT]  # fmt: skip
    made = traded(up, max_position=1.0, risk_per_trade=1.0, daily_loss=0.02, drawdown_halt=0.02, max_exposure=2.0,
                  max_open_risk=2.0)  # fmt: skip
    trade = made.trades.row(0, named=True)
    assert trade["pnl"] > 0
    lost = made.equity.filter(pl.col("moment") == trade["exit_ts"]).row(0, named=True)
    assert lost["drawdown"] > 0.02
    assert np.isfinite(lost["drawdown"])
    assert lost["state"] == "ACTIVE"
