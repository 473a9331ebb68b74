"""Figures of closed trades: all of them, by strategy, by tier, by outcome, by month. Sums of money are exact.

Sums are Decimal and nothing is rounded, so that they agree with the ledger to the last digit. A win is a trade with a
net profit above 0; the expectancy is the mean net return of a trade on what it spent, as labels have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

#: Digits of sums: enough for any sum of NUMERIC values that the ledger holds.
_EXACT = Context(prec=120)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """What figures need of a closed trade. Money in the quote currency.

    Attributes:
        strategy: Whose signal it was.
        instrument: Canonical name.
        tier: large, mid or meme.
        outcome: TP, SL or TIME.
        opened: When it was entered (UTC).
        closed: When it was left.
        spent: What its entries cost, fees included.
        pnl: Net profit: after fees and slippage.
        fees: Paid on both sides.
        slippage: What worse fills cost on both sides; part of the prices, never added to ``fees``.
        net_return: ``pnl`` over ``spent``, as the label's.
    """

    strategy: str
    instrument: str
    tier: str
    outcome: str
    opened: datetime
    closed: datetime
    spent: Decimal
    pnl: Decimal
    fees: Decimal
    slippage: Decimal
    net_return: float


@dataclass(frozen=True, slots=True)
class TradeFigures:
    """Figures of a group of closed trades. Money in the quote currency; shares, not percent; None without trades.

    Attributes:
        trades: Number of them.
        wins: Those with a net profit above 0.
        win_rate: Share of wins.
        pnl: Sum of net profits.
        gross: The same before fees and slippage.
        fees: Sum of fees.
        slippage: Sum of what worse fills cost.
        turnover: Sum of what entries cost.
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


def trade_figures(trades: Sequence[ClosedTrade]) -> TradeFigures:
    """Figures of all of ``trades``."""
    won = [one for one in trades if one.pnl > 0]
    lost = [one for one in trades if one.pnl <= 0]
    loss = exact_sum(one.pnl for one in lost)
    fees, slippage = exact_sum(one.fees for one in trades), exact_sum(one.slippage for one in trades)
    pnl = exact_sum(one.pnl for one in trades)
    outcomes: dict[str, int] = {}
    for one in trades:
        outcomes[one.outcome] = outcomes.get(one.outcome, 0) + 1
    return TradeFigures(
        trades=len(trades),
        wins=len(won),
        win_rate=len(won) / len(trades) if trades else None,
        pnl=pnl,
        gross=exact_sum((pnl, fees, slippage)),
        fees=fees,
        slippage=slippage,
        turnover=exact_sum(one.spent for one in trades),
        expectancy=_mean([one.net_return for one in trades]),
        mean_win=_mean([one.net_return for one in won]),
        mean_loss=_mean([one.net_return for one in lost]),
        profit_factor=float(exact_sum(one.pnl for one in won) / -loss) if loss else None,
        mean_hours=_mean([(one.closed - one.opened).total_seconds() / 3600 for one in trades]),
        outcomes=dict(sorted(outcomes.items())),
    )


def figures_by(trades: Sequence[ClosedTrade], key: Callable[[ClosedTrade], str]) -> dict[str, TradeFigures]:
    """Figures of each group of ``trades``, by the group's name, in order of names."""
    groups: dict[str, list[ClosedTrade]] = {}
    for one in trades:
        groups.setdefault(key(one), []).append(one)
    return {name: trade_figures(groups[name]) for name in sorted(groups)}


def exact_sum(values: Any) -> Decimal:
    """The sum of Decimals without rounding."""
    total = _ZERO
    for value in values:
        total = _EXACT.add(total, value)
    return total


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
