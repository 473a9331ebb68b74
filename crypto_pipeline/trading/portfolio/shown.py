"""Rows of the ledger as people and programs are shown them, by the names of the HTTP interface. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.trading.portfolio.trade_figures import TradeFigures

_QUARTER = timedelta(minutes=15)
_TRADE = (
    "strategy", "instrument", "tier", "signal_ts", "entry_ts", "exit_ts", "outcome", "average_price", "exit_price",
    "stop_loss_price", "take_profit_price", "orders_filled", "units", "pnl", "fees", "slippage", "net_return",
    "decision_price",
)  # fmt: skip
_POSITION = (
    "strategy", "instrument", "tier", "signal_ts", "entry_ts", "units", "average_price", "value", "fees", "slippage",
    "stop_loss_price", "take_profit_price", "orders", "risk", "reserved", "decision_price",
)  # fmt: skip
_SIGNAL = (
    "strategy", "instrument", "tier", "signal_ts", "size", "bound_by", "decision_price", "planned_stop",
    "planned_target", "risk", "equity", "free_cash", "stress", "regime", "ml_mode", "probability", "p_star", "model_id",
    "params_hash", "parameters_hash",
)  # fmt: skip


def shown_position(row: Mapping[str, Any], horizon: int) -> dict[str, Any]:
    """An open trade; ``horizon``: 15m bars from its entry on after which it is sold."""
    return {
        **{name: row[name] for name in _POSITION},
        "price": row["mark"],
        "spent": row["paid"],
        "unrealised_pnl": row["result"],
        "orders_filled": row["booked"],
        "shortfall": _shortfall(row),
        "expires": row["entry_ts"] + horizon * _QUARTER,
    }


def shown_trade(row: Mapping[str, Any]) -> dict[str, Any]:
    """A closed trade."""
    return {
        **{name: row[name] for name in _TRADE},
        "spent": row["paid"],
        "received": row["received"],
        "shortfall": _shortfall(row),
    }


def shown_signal(row: Mapping[str, Any]) -> dict[str, Any]:
    """A signal and what was decided of it."""
    return {
        **{name: row[name] for name in _SIGNAL},
        "decided_at": row["moment"],
        "accepted": row["taken"],
        "reason": row["limit_name"],
        "value": row["limit_value"],
        "threshold": row["limit_threshold"],
    }


def shown_groups(groups: Mapping[str, TradeFigures]) -> dict[str, dict[str, Any]]:
    """Figures by the names of their groups."""
    return {name: one.as_dict() for name, one in groups.items()}


def shown_curve(equity: pl.DataFrame, points: int) -> list[dict[str, Any]]:
    """At most ``points`` moments of an equity curve, the last one among them, in equal steps."""
    if not points or equity.is_empty():
        return []
    step = -(-equity.height // points)
    rows = equity.reverse().gather_every(step).reverse()
    return rows.select("moment", "equity", "cash", "positions").to_dicts()


def money_text(amount: Decimal) -> str:
    """All digits of a sum, without an exponent and without zeros behind the last one."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shortfall(row: Mapping[str, Any]) -> float | None:
    """By how much the first entry was dearer than the close at which it was decided, as a share of it."""
    entry: float | None = row["entry_price"]
    return None if entry is None else entry / row["decision_price"] - 1
