"""What an account did in a span, in one form for stored accounts, replays and variants: figures, charts and reports
are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import polars as pl

from crypto_pipeline.trading.portfolio.equity_figures import EquityFigures, equity_figures
from crypto_pipeline.trading.portfolio.trade_figures import TradeFigures, figures_by, trade_figures


@dataclass(frozen=True)
class TradingBook:
    """An account in ``[start, end)``, UTC. The frames have the columns of ``trading.ledger.rows``.

    Attributes:
        name: Of the account or variant.
        currency: Its quote asset.
        decisions: Every decided signal, in the order of decisions.
        trades: Closed trades, each as it is booked now, by the moment of their ends.
        equity: The account at each moment, sorted.
        facts: What it was made with, by name: parameters, hashes, instruments.
    """

    name: str
    currency: str
    start: datetime
    end: datetime
    decisions: pl.DataFrame
    trades: pl.DataFrame
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
        return figures_by(self.trades, "strategy")

    @cached_property
    def by_tier(self) -> dict[str, TradeFigures]:
        """Figures of closed trades by tier."""
        return figures_by(self.trades, "tier")

    @cached_property
    def by_month(self) -> dict[str, TradeFigures]:
        """Figures of closed trades by the UTC month in which they ended."""
        return figures_by(self.trades, pl.col("exit_ts").dt.strftime("%Y-%m"))

    @cached_property
    def rejections(self) -> pl.DataFrame:
        """Rejected signals by ``limit_name``: ``signals``, and the newest with what was found and what is allowed."""
        rejected = self.decisions.drop_nulls("limit_name").sort("signal_ts", maintain_order=True)
        newest = pl.col("signal_ts", "strategy", "instrument", "limit_value", "limit_threshold").last()
        counted = rejected.group_by("limit_name").agg(pl.len().alias("signals"), newest)
        return counted.sort(["signals", "limit_name"], descending=[True, False])
