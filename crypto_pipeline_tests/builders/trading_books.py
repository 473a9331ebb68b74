"""Books of accounts with a few trades, for tests of what is shown of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

from crypto_pipeline.trading.portfolio.book import DECISION_COLUMNS, EQUITY_COLUMNS, TradingBook
from crypto_pipeline.trading.portfolio.trade_figures import ClosedTrade

START = datetime(2026, 3, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def trade(number: int, pnl: str, strategy: str = "swing", tier: str = "large", outcome: str = "TP") -> ClosedTrade:
    """A trade of four hours that spent 1,000; ``number`` hours after the start."""
    opened = START + timedelta(hours=number)
    return ClosedTrade(
        strategy, "BTC-USDT", tier, outcome, opened, opened + timedelta(hours=4), Decimal(1000), Decimal(pnl),
        Decimal("5.2"), Decimal("0.8"), float(Decimal(pnl) / 1000),
    )  # fmt: skip


def book(trades: list[ClosedTrade] | None = None, days: int = 40) -> TradingBook:
    """A book of ``days`` whose equity gains what its trades gain, each when it is closed."""
    closed = trades if trades is not None else [trade(5, "40"), trade(50, "-20", "dca", "meme", "SL")]
    moments = [START + QUARTER * step for step in range(96 * days + 1)]
    values = [10_000 + float(sum(one.pnl for one in closed if one.closed <= at)) for at in moments]
    held = [1000.0 * any(one.opened <= at < one.closed for one in closed) for at in moments]
    decided = [(one.opened, one.strategy, one.instrument, None, None, None) for one in closed]
    if closed:
        decided.append((START, "channel", "PEPE-USDT", "max_open", 5.0, 5.0))
    return TradingBook(
        "paper", "USDT", START, moments[-1],
        pl.DataFrame(decided, schema=DECISION_COLUMNS, orient="row"),
        sorted(closed, key=lambda one: one.closed),
        pl.DataFrame({"time": moments, "equity": values, "exposure": held}, schema=EQUITY_COLUMNS),
        {"parameters": "0123456789abcdef"},
    )  # fmt: skip
