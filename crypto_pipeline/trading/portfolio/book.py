"""What an account did in a span, in one form for stored accounts, replays and variants: figures, charts and reports
are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.trading.portfolio.equity_figures import EquityFigures, equity_figures
from crypto_pipeline.trading.portfolio.trade_figures import ClosedTrade, TradeFigures, figures_by, trade_figures

#: Columns of ``TradingBook.decisions`` that are looked at. ``reason``: what rejected the signal; null: it was taken.
DECISION_COLUMNS: dict[str, pl.DataType] = {
    "signal_ts": UTC_MS,
    "strategy": pl.String(),
    "instrument": pl.String(),
    "reason": pl.String(),
    "value": pl.Float64(),
    "threshold": pl.Float64(),
}
#: Columns of ``TradingBook.equity`` that are looked at; numbers in the account's currency.
EQUITY_COLUMNS: dict[str, pl.DataType] = {"time": UTC_MS, "equity": pl.Float64(), "exposure": pl.Float64()}


@dataclass(frozen=True)
class TradingBook:
    """An account in ``[start, end)``, UTC.

    Attributes:
        name: Of the account or variant.
        currency: Its quote asset.
        decisions: Every decided signal, with the columns of DECISION_COLUMNS.
        trades: Closed trades, by the time at which they were closed.
        equity: The account at each moment, sorted by time, with the columns of EQUITY_COLUMNS.
        facts: What it was made with, by name: parameters, hashes, instruments.
    """

    name: str
    currency: str
    start: datetime
    end: datetime
    decisions: pl.DataFrame
    trades: Sequence[ClosedTrade]
    equity: pl.DataFrame
    facts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def equity_figures(self) -> EquityFigures | None:
        """Figures of the curve; None without a moment."""
        return equity_figures(self.equity)

    @cached_property
    def figures(self) -> TradeFigures:
        """Figures of all closed trades."""
        return trade_figures(self.trades)

    @cached_property
    def by_strategy(self) -> dict[str, TradeFigures]:
        """Figures of closed trades by strategy."""
        return figures_by(self.trades, lambda one: one.strategy)

    @cached_property
    def by_tier(self) -> dict[str, TradeFigures]:
        """Figures of closed trades by tier."""
        return figures_by(self.trades, lambda one: one.tier)

    @cached_property
    def by_month(self) -> dict[str, TradeFigures]:
        """Figures of closed trades by the UTC month in which they were closed."""
        return figures_by(self.trades, lambda one: f"{one.closed:%Y-%m}")

    @cached_property
    def rejections(self) -> pl.DataFrame:
        """Rejected signals: ``reason``, ``signals``, and the ``newest`` with its ``value`` and ``threshold``."""
        rejected = self.decisions.drop_nulls("reason").sort("signal_ts")
        newest = pl.col("signal_ts", "strategy", "instrument", "value", "threshold").last()
        counted = rejected.group_by("reason").agg(pl.len().alias("signals"), newest)
        return counted.sort(["signals", "reason"], descending=[True, False])

    @cached_property
    def trade_rows(self) -> pl.DataFrame:
        """Closed trades as a frame for charts: ``closed``, ``strategy``, ``tier``, ``outcome``, ``pnl``,
        ``net_return``; money as numbers.
        """
        rows = [(t.closed, t.strategy, t.tier, t.outcome, float(t.pnl), t.net_return) for t in self.trades]
        schema: dict[str, pl.DataType] = {
            "closed": UTC_MS, "strategy": pl.String(), "tier": pl.String(), "outcome": pl.String(),
            "pnl": pl.Float64(), "net_return": pl.Float64(),
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")
