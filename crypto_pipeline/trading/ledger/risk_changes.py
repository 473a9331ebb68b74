"""Changes of what an account may do, told from its equity row by row."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.store.trading.ledger_columns import RISK_CHANGE_SCHEMA
from crypto_pipeline.trading.guards import TradingState

RESUMED = "resumed"


def risk_changes(equity: pl.DataFrame, before: str = TradingState.ACTIVE) -> pl.DataFrame:
    """The rows of ``equity`` (EQUITY_SCHEMA) whose state, or its reason, differs from the one before; ``before``: the
    state and reason at the begin, as ``state_words`` tells them. Columns: RISK_CHANGE_SCHEMA.
    """
    rows, last = [], before
    for row in equity.iter_rows(named=True):
        because = reason_of(row)
        if (words := state_words(row["state"], because)) != last:
            until = [row[name] for name in ("daily_until", "weekly_until", "halt_until") if row[name] is not None]
            later = [moment for moment in until if moment > row["moment"]]
            resumes = max(later, default=None) if not row["needs_reset"] else None
            rows.append((row["moment"], row["state"], because, resumes, row["equity"], row["drawdown"]))
            last = words
    return pl.DataFrame(rows, schema=RISK_CHANGE_SCHEMA, orient="row")


def state_words(state: str, because: str) -> str:
    """State and reason as one word; of an account that may do all, its state alone."""
    return state if because == RESUMED else f"{state}:{because}"


def reason_of(row: dict[str, object]) -> str:
    """The guard behind the state of a row of equity; RESUMED where none holds."""
    if row["state"] == TradingState.HALTED:
        return "drawdown_reset" if row["needs_reset"] else "drawdown_halt"
    if row["state"] == TradingState.REDUCING:
        moment, weekly = row["moment"], row["weekly_until"]
        return "weekly_loss" if weekly is not None and weekly > moment else "daily_loss"  # type: ignore[operator]
    return RESUMED
