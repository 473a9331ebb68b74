"""Figures of trades: exact sums, by group, and without trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crypto_pipeline.trading.portfolio.trade_figures import ClosedTrade, exact_sum, figures_by, trade_figures

START = datetime(2026, 1, 1, tzinfo=UTC)


def trade(pnl: str, spent: str = "100", *, outcome: str = "TP", strategy: str = "swing", hours: int = 4) -> ClosedTrade:
    return ClosedTrade(
        strategy, "BTC-USDT", "large", outcome, START, START + timedelta(hours=hours), Decimal(spent), Decimal(pnl),
        fees=Decimal("0.5"), slippage=Decimal("0.08"), net_return=float(Decimal(pnl) / Decimal(spent)),
    )  # fmt: skip


def test_they_add_up() -> None:
    trades = [trade("10"), trade("-4", outcome="SL", hours=2), trade("0", outcome="TIME", hours=72), trade("6")]
    figures = trade_figures(trades)
    assert (figures.trades, figures.wins, figures.win_rate) == (4, 2, 0.5)
    assert (figures.pnl, figures.fees, figures.slippage, figures.turnover) == (12, 2, Decimal("0.32"), 400)
    assert figures.gross == Decimal("14.32")
    assert figures.expectancy == pytest.approx(0.03)
    assert (figures.mean_win, figures.mean_loss) == (pytest.approx(0.08), pytest.approx(-0.02))
    assert figures.profit_factor == 4
    assert figures.mean_hours == 20.5
    assert figures.outcomes == {"SL": 1, "TIME": 1, "TP": 2}


def test_no_digit_is_lost() -> None:
    """Sums of very large and very small amounts stay exact: floats would lose the small ones."""
    amounts = [Decimal("1e15"), Decimal("0.00000000000000000123"), Decimal("-1e15")]
    assert exact_sum(amounts) == Decimal("0.00000000000000000123")
    assert trade_figures([trade(str(amount)) for amount in amounts]).pnl == Decimal("0.00000000000000000123")


def test_groups_add_up_to_all() -> None:
    trades = [trade("1", strategy="dca"), trade("2"), trade("-1.5", strategy="dca")]
    groups = figures_by(trades, lambda one: one.strategy)
    assert list(groups) == ["dca", "swing"]
    assert exact_sum(one.pnl for one in groups.values()) == trade_figures(trades).pnl


def test_no_trades_and_no_losses() -> None:
    nothing = trade_figures([])
    assert (nothing.trades, nothing.pnl, nothing.win_rate, nothing.profit_factor) == (0, 0, None, None)
    assert trade_figures([trade("1")]).profit_factor is None
