"""Figures of trades: exact sums, by group, and without trades."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crypto_pipeline.trading.ledger.rows import TRADE_SCHEMA
from crypto_pipeline.trading.portfolio.trade_figures import figures_by, trade_figures
from crypto_pipeline_tests.builders.trading_books import trade, trades

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_they_add_up() -> None:
    figures = trade_figures(
        trades(
            trade(0, "10"),
            trade(1, "-4", outcome="SL", hours=2),
            trade(2, "0", outcome="TIME", hours=72),
            trade(3, "6"),
        )
    )
    assert (figures.trades, figures.wins, figures.win_rate) == (4, 2, 0.5)
    assert (figures.pnl, figures.fees, figures.slippage, figures.turnover) == (
        12,
        Decimal("20.8"),
        Decimal("3.2"),
        4000,
    )
    assert figures.gross == 36
    assert figures.expectancy == pytest.approx(0.003)
    assert (figures.mean_win, figures.mean_loss) == (pytest.approx(0.008), pytest.approx(-0.002))
    assert figures.profit_factor == 4
    assert figures.mean_hours == 20.5
    assert figures.outcomes == {"TP": 2, "SL": 1, "TIME": 1}


def test_no_digit_is_lost() -> None:
    """Sums of very large and very small amounts stay exact: floats would lose the small ones."""
    amounts = ["1000000000000000", "0.000000000000000001", "-1000000000000000"]
    assert trade_figures(trades(*(trade(0, amount) for amount in amounts))).pnl == Decimal("1e-18")


def test_groups_add_up_to_all() -> None:
    rows = trades(trade(0, "1", "dca"), trade(1, "2"), trade(2, "-1.5", "dca"))
    groups = figures_by(rows, "strategy")
    assert list(groups) == ["dca", "swing"]
    assert sum(one.pnl for one in groups.values()) == trade_figures(rows).pnl == Decimal("1.5")


def test_no_trades_and_no_losses() -> None:
    nothing = trade_figures(trades())
    assert (nothing.trades, nothing.pnl, nothing.win_rate, nothing.profit_factor) == (0, 0, None, None)
    assert figures_by(trades(), "tier") == {}
    assert trade_figures(trades(trade(0, "1"))).profit_factor is None
    assert trades().schema == TRADE_SCHEMA
