"""Figures of closed trades: all of them, by strategy, by tier, by month. Sums of money are exact.

Sums are decimals and nothing is rounded, so that they agree with the ledger to the last digit. A win is a trade with a
net profit above 0; the expectancy is the mean net return of a trade on what it spent, as labels have it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Context, Decimal
from typing import Any

import polars as pl

#: Columns of a frame of trades that are looked at, with those by which it is grouped.
USED = ("outcome", "entry_ts", "exit_ts", "paid", "pnl", "fees", "slippage", "net_return")
OUTCOMES = ("TP", "SL", "TIME")
_ALL = "all"
_EXACT = Context(prec=80)


@dataclass(frozen=True, slots=True)
class TradeFigures:
    """Figures of a group of closed trades. Money in the account's currency; shares, not percent; None without trades.

    Attributes:
        trades: Number of them.
        wins: Those with a net profit above 0.
        win_rate: Share of wins.
        pnl: Sum of net profits.
        gross: The same before fees and slippage.
        fees: Sum of fees.
        slippage: Sum of what worse fills cost; it is part of the prices, and never of the fees.
        turnover: Sum of what entries cost, fees included.
        expectancy: Mean net return.
        mean_win: Mean net return of wins.
        mean_loss: Mean net return of the others.
        profit_factor: Sum of profits over sum of losses; None without a loss.
        mean_hours: Mean hours from entry to exit.
        outcomes: Number of trades by outcome.
    """

    trades: int
    wins: int
    win_rate: float | None
    pnl: Decimal
    gross: Decimal
    fees: Decimal
    slippage: Decimal
    turnover: Decimal
    expectancy: float | None
    mean_win: float | None
    mean_loss: float | None
    profit_factor: float | None
    mean_hours: float | None
    outcomes: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


def trade_figures(trades: pl.DataFrame) -> TradeFigures:
    """Figures of all rows of ``trades`` (the columns of USED; money as Decimal)."""
    return _figures(trades.select(_AGGREGATES).row(0, named=True))


def figures_by(trades: pl.DataFrame, group: str | pl.Expr) -> dict[str, TradeFigures]:
    """Figures of each group of ``trades``, by the group's name, in order of names. ``group``: a column of texts."""
    named = (pl.col(group) if isinstance(group, str) else group).alias(_ALL)
    rows = trades.group_by(named).agg(_AGGREGATES).sort(_ALL).iter_rows(named=True)
    return {str(row[_ALL]): _figures(row) for row in rows}


_PNL, _NET = pl.col("pnl"), pl.col("net_return")
_WON = _PNL > 0
_AGGREGATES = [
    pl.len().alias("trades"),
    _WON.sum().alias("wins"),
    *(pl.col(name).sum().alias(name) for name in ("pnl", "fees", "slippage")),
    pl.col("paid").sum().alias("turnover"),
    _PNL.filter(_WON).sum().alias("gain"),
    _PNL.filter(~_WON).sum().alias("loss"),
    _NET.mean().alias("expectancy"),
    _NET.filter(_WON).mean().alias("mean_win"),
    _NET.filter(~_WON).mean().alias("mean_loss"),
    ((pl.col("exit_ts") - pl.col("entry_ts")).dt.total_seconds() / 3600).mean().alias("mean_hours"),
    *((pl.col("outcome") == name).sum().alias(f"outcome {name}") for name in OUTCOMES),
]


def _figures(row: dict[str, Any]) -> TradeFigures:
    trades, wins, loss = row["trades"], row["wins"], row["loss"]
    pnl, fees, slippage = (row[name] for name in ("pnl", "fees", "slippage"))
    return TradeFigures(
        trades=trades,
        wins=wins,
        win_rate=wins / trades if trades else None,
        pnl=pnl,
        gross=_exact_sum(pnl, fees, slippage),
        fees=fees,
        slippage=slippage,
        turnover=row["turnover"],
        expectancy=row["expectancy"],
        mean_win=row["mean_win"],
        mean_loss=row["mean_loss"],
        profit_factor=float(row["gain"] / -loss) if loss else None,
        mean_hours=row["mean_hours"],
        outcomes={name: row[f"outcome {name}"] for name in OUTCOMES if row[f"outcome {name}"]},
    )


def _exact_sum(*values: Decimal) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total
