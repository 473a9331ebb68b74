"""Figures of equity curves: against another program's numbers, by hand, and at their edges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.trading.portfolio.equity_figures import daily_returns, deepest_drawdown, drawdowns, equity_figures

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
#: Of ``walk`` by empyrical-reloaded 0.7.1 with annualization=365, on the same returns of days.
EMPYRICAL = {
    "annual_return": 0.014612534573740232,
    "volatility": 0.38102286158773246,
    "sharpe": 0.22674863307576062,
    "sortino": 0.32370247434212224,
    "calmar": 0.08645365541075774,
}
EMPYRICAL_DRAWDOWN = 0.1690215931797598


def curve(values: list[float], step: timedelta = DAY, held: float = 0.0) -> pl.DataFrame:
    times = pl.Series([START + step * number for number in range(len(values))], dtype=pl.Datetime("ms", "UTC"))
    return pl.DataFrame({"moment": times, "equity": values, "positions": [held] * len(values)})


def walk() -> pl.DataFrame:
    """A curve of 100 days."""
    returns = np.random.default_rng(14).normal(0.001, 0.02, 100)
    return curve([10_000.0, *(10_000 * np.cumprod(1 + returns)).tolist()])


def test_they_are_what_another_program_computes() -> None:
    figures = equity_figures(walk())
    assert figures is not None
    for name, expected in EMPYRICAL.items():
        assert getattr(figures, name) == pytest.approx(expected, rel=1e-9), name
    assert figures.drawdown is not None
    assert figures.drawdown.depth == pytest.approx(EMPYRICAL_DRAWDOWN, rel=1e-12)


def test_a_drawdown_has_its_moments() -> None:
    found = deepest_drawdown(curve([100, 120, 120, 90, 100, 119, 120, 130, 125]))
    assert found is not None
    assert found.depth == 0.25
    # of two moments with the same high, the fall begins at the later one
    assert [found.peak, found.trough, found.recovered] == [START + DAY * number for number in (2, 3, 6)]
    unfinished = deepest_drawdown(curve([100, 50, 60]))
    assert unfinished is not None
    assert unfinished.recovered is None
    assert deepest_drawdown(curve([100, 100, 101])) is None
    assert drawdowns(curve([100, 50, 60, 200]))["drawdown"].to_list() == [0, 0.5, 0.4, 0]


def test_days_end_at_midnight() -> None:
    """A mark at 00:00 is the last of the day before; the day that runs ends with its last mark."""
    values = [100.0, *[105.0] * 95, 110.0, *[120.0] * 10]
    days = daily_returns(curve(values, timedelta(minutes=15)))
    assert days["day"].to_list() == [date(2026, 1, 1), date(2026, 1, 2)]
    assert days["equity"].to_list() == [110.0, 120.0]
    assert days["return"].to_list() == pytest.approx([0.10, 120 / 110 - 1])


def test_a_short_span_is_not_annualised() -> None:
    figures = equity_figures(curve([100.0, 101.0, 99.0, 102.0]))
    assert figures is not None
    assert figures.total_return == pytest.approx(0.02)
    assert figures.annual_return is None
    assert figures.calmar is None


def test_exposure_is_a_share_of_equity() -> None:
    figures = equity_figures(curve([100.0, 100.0, 200.0]).with_columns(positions=pl.Series([0.0, 50.0, 100.0])))
    assert figures is not None
    assert figures.mean_exposure == pytest.approx(1 / 3)
    assert figures.most_exposure == 0.5
    assert figures.time_in_market == pytest.approx(2 / 3)


@pytest.mark.parametrize("values", [[100.0], [100.0, 100.0], [100.0] * 40])
def test_a_curve_that_never_moves_has_no_ratios(values: list[float]) -> None:
    figures = equity_figures(curve(values))
    assert figures is not None
    assert (figures.total_return, figures.drawdown, figures.sharpe, figures.sortino) == (0, None, None, None)


def test_an_account_that_lost_all_has_figures() -> None:
    figures = equity_figures(curve([100.0, 0.0, *[0.0] * 40], held=1.0))
    assert figures is not None
    assert figures.drawdown is not None
    assert figures.drawdown.depth == 1
    assert figures.annual_return is None


def test_no_rows_give_none() -> None:
    assert equity_figures(curve([])) is None
    assert daily_returns(curve([])).is_empty()
    assert deepest_drawdown(curve([])) is None
