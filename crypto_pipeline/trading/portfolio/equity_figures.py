"""Figures of an equity curve, on years of 365 days: this market has no weekends and no holidays.

A day's return is that of the equity at the end of the UTC day to the end of the day before; the first day begins with
the first equity, the running day ends with the last one. A day without a trade counts, with the return that its marks
give. The risk-free rate is 0.

Sources of the formulas: W. F. Sharpe, The Sharpe Ratio (1994); F. A. Sortino and L. N. Price, Performance Measurement
in a Downside Risk Framework (1994), with a target of 0; T. W. Young, Calmar Ratio (1991), over the whole span.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

#: Days of a year.
YEAR = 365
#: Days below which nothing is annualised: a week's luck to the power of 52 says nothing.
LEAST_DAYS = 30
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall of the equity from its highest value before.

    Attributes:
        depth: Share of that highest value, 0 to 1.
        peak: When the equity stood highest (UTC); of several such moments the last one.
        trough: When it stood lowest after that.
        recovered: When it first was as high again; None where it is not yet.
    """

    depth: float
    peak: datetime
    trough: datetime
    recovered: datetime | None


@dataclass(frozen=True, slots=True)
class EquityFigures:
    """Figures of an equity curve. Shares, not percent; None where there is too little to compute one from.

    Attributes:
        start: First moment (UTC).
        end: Last moment.
        days: Length in days.
        start_equity: In the quote currency.
        end_equity: In the quote currency.
        total_return: Of the whole span.
        annual_return: Compounded to 365 days; from 30 days on.
        volatility: Standard deviation of the days' returns times √365.
        sharpe: Mean of the days' returns over their standard deviation, times √365.
        sortino: Mean over the root of the mean square of the returns below 0, times √365.
        calmar: Annual return over the deepest drawdown.
        drawdown: The deepest one; None where the equity never fell.
        current_drawdown: Of the last moment to the highest one.
        best_day: Greatest return of a day.
        worst_day: Least return of a day.
        mean_exposure: Mean share of the equity that was in positions.
        most_exposure: Greatest share.
        time_in_market: Share of the moments with a position.
    """

    start: datetime
    end: datetime
    days: float
    start_equity: float
    end_equity: float
    total_return: float
    annual_return: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    drawdown: Drawdown | None
    current_drawdown: float
    best_day: float | None
    worst_day: float | None
    mean_exposure: float
    most_exposure: float
    time_in_market: float

    def as_dict(self) -> dict[str, Any]:
        """By name; the drawdown as a dictionary of its own."""
        return asdict(self)


def equity_figures(equity: pl.DataFrame) -> EquityFigures | None:
    """Figures of a curve; None where it has no row.

    ``equity``, sorted by ``moment`` (Datetime, UTC), one row each: ``equity`` and ``positions``, the value of what is
    held, both in the quote currency.
    """
    if equity.is_empty():
        return None
    times, values = equity["moment"], equity["equity"].cast(pl.Float64).to_numpy()
    share = equity["positions"].cast(pl.Float64).to_numpy() / np.where(values > 0, values, np.nan)
    start, end = times[0], times[-1]
    days = (end - start) / _DAY
    total = float(values[-1] / values[0] - 1)
    returns = daily_returns(equity)["return"].to_numpy()
    annual = (1 + total) ** (YEAR / days) - 1 if days >= LEAST_DAYS and total > -1 else None
    fall = deepest_drawdown(equity)
    return EquityFigures(
        start, end, days, float(values[0]), float(values[-1]), total, annual,
        volatility=_volatility(returns),
        sharpe=_ratio(returns, np.std(returns, ddof=1) if len(returns) > 1 else 0.0),
        sortino=_ratio(returns, np.sqrt(np.mean(np.minimum(returns, 0) ** 2)) if len(returns) > 1 else 0.0),
        calmar=None if annual is None or fall is None else annual / fall.depth,
        drawdown=fall,
        current_drawdown=float(1 - values[-1] / values.max()),
        best_day=float(returns.max()) if len(returns) else None,
        worst_day=float(returns.min()) if len(returns) else None,
        mean_exposure=float(np.nan_to_num(share).mean()),
        most_exposure=float(np.nan_to_num(share).max()),
        time_in_market=float((share > 0).mean()),
    )  # fmt: skip


def daily_returns(equity: pl.DataFrame) -> pl.DataFrame:
    """``day`` (Date, UTC), ``equity`` at its end and ``return`` (share) of every day of a curve, days without a mark
    left out. A mark at 00:00 is the end of the day before.
    """
    if equity.is_empty():
        return pl.DataFrame(schema={"day": pl.Date, "equity": pl.Float64, "return": pl.Float64})
    first = equity["equity"].cast(pl.Float64)[0]
    day = (pl.col("moment") - pl.duration(milliseconds=1)).dt.date().alias("day")
    marks = equity.slice(1).select(day, pl.col("equity").cast(pl.Float64))
    ends = marks.group_by("day", maintain_order=True).agg(pl.col("equity").last())
    before = pl.col("equity").shift(1, fill_value=first)
    return ends.with_columns((pl.col("equity") / before - 1).alias("return"))


def drawdowns(equity: pl.DataFrame) -> pl.DataFrame:
    """``moment`` and ``drawdown`` (share of the highest equity up to then, 0 or more) of every moment."""
    value = pl.col("equity").cast(pl.Float64)
    return equity.select("moment", (1 - value / value.cum_max()).alias("drawdown"))


def deepest_drawdown(equity: pl.DataFrame) -> Drawdown | None:
    """The deepest drawdown of a curve, the first of equal ones; None where the equity never fell."""
    values, times = equity["equity"].cast(pl.Float64).to_numpy(), equity["moment"]
    if not len(values):
        return None
    fall = 1 - values / np.maximum.accumulate(values)
    low = int(fall.argmax())
    if fall[low] <= 0:
        return None
    high = low - int(values[: low + 1][::-1].argmax())
    again = np.flatnonzero(values[low:] >= values[high])
    recovered = times[low + int(again[0])] if len(again) else None
    return Drawdown(float(fall[low]), times[high], times[low], recovered)


def _volatility(returns: npt.NDArray[np.float64]) -> float | None:
    return float(np.std(returns, ddof=1) * np.sqrt(YEAR)) if len(returns) > 1 else None


def _ratio(returns: npt.NDArray[np.float64], spread: float) -> float | None:
    """Mean over ``spread``, annualised; None where there is no spread."""
    return float(returns.mean() / spread * np.sqrt(YEAR)) if len(returns) > 1 and spread > 0 else None
