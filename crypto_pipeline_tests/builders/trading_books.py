"""Books of accounts with a few trades, for tests of what is shown of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.trading.ledger.rows import DECISION_SCHEMA, EQUITY_SCHEMA, TRADE_SCHEMA
from crypto_pipeline.trading.portfolio.book import TradingBook

START = datetime(2026, 3, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)

Row = dict[str, Any]


def trade(
    number: int, pnl: str, strategy: str = "swing", tier: str = "large", outcome: str = "TP", hours: int = 4
) -> Row:
    """A trade that spent 1,000 and was entered ``number`` hours after the start."""
    opened = START + timedelta(hours=number)
    return {
        "strategy": strategy, "instrument": "BTC-USDT", "signal_ts": opened - QUARTER, "revision": 0, "tier": tier,
        "entry_ts": opened, "exit_ts": opened + timedelta(hours=hours), "outcome": outcome, "orders_filled": 1,
        "paid": Decimal(1000), "received": 1000 + Decimal(pnl), "fees": Decimal("5.2"), "slippage": Decimal("0.8"),
        "pnl": Decimal(pnl), "net_return": float(Decimal(pnl) / 1000),
    }  # fmt: skip


def trades(*rows: Row) -> pl.DataFrame:
    """A frame of trades; what ``trade`` does not give is null."""
    return pl.DataFrame([{name: row.get(name) for name in TRADE_SCHEMA} for row in rows], schema=TRADE_SCHEMA)


def decision(row: Row, limit: str | None = None) -> Row:
    """The decision about the signal of a trade."""
    named = {"limit_name": limit, "limit_value": 5.0 if limit else None, "limit_threshold": 5.0 if limit else None}
    known = {name: row[name] for name in ("strategy", "instrument", "signal_ts", "tier")}
    return {**dict.fromkeys(DECISION_SCHEMA), **known, "taken": limit is None, **named}


def book(rows: list[Row] | None = None, days: int = 40) -> TradingBook:
    """A book of ``days`` whose equity gains what its trades gain, each when it is closed."""
    closed = rows if rows is not None else [trade(5, "40"), trade(50, "-20", "dca", "meme", "SL")]
    moments = [START + QUARTER * step for step in range(96 * days + 1)]
    values = [10_000 + sum((one["pnl"] for one in closed if one["exit_ts"] <= at), Decimal(0)) for at in moments]
    held = [Decimal(1000 * any(one["entry_ts"] <= at < one["exit_ts"] for one in closed)) for at in moments]
    decided = [decision(row) for row in closed]
    if closed:
        decided.append(decision({**trade(0, "0", "channel", "meme")}, "max_open"))
    marks = {name: [None] * len(moments) for name in EQUITY_SCHEMA} | {
        "moment": moments, "equity": values, "positions": held,
    }  # fmt: skip
    return TradingBook(
        "paper", "USDT", START, moments[-1],
        pl.DataFrame(decided, schema=DECISION_SCHEMA),
        trades(*sorted(closed, key=lambda one: one["exit_ts"])),
        pl.DataFrame(marks, schema=EQUITY_SCHEMA),
        {"parameters": "0123456789abcdef"},
    )  # fmt: skip
