"""What people see of the account on the pages of its assets: figures, tables and charts."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.ops.charts import labels as label_charts
from crypto_pipeline.ops.charts import trading as charts
from crypto_pipeline.store import Store
from crypto_pipeline.trading.portfolio.shown import money_text
from crypto_pipeline.trading.portfolio.trade_figures import TradeFigures
from crypto_pipeline.trading.stored.accounts.portfolio import StoredAccount

#: Rows of a table, the newest ones.
_NEWEST = 30
_DAY = timedelta(days=1)
_TRADE_COLUMNS = (
    "strategy", "instrument", "tier", "signal_ts", "entry_ts", "exit_ts", "outcome", "average_price", "exit_price",
    "paid", "pnl", "fees", "slippage", "net_return",
)  # fmt: skip
_DECISION_COLUMNS = (
    "strategy", "instrument", "signal_ts", "taken", "limit_name", "limit_value", "limit_threshold", "size", "bound_by",
    "decision_price", "probability", "p_star",
)  # fmt: skip

_POSITION_COLUMNS = (
    "strategy", "instrument", "entry_ts", "units", "value", "result", "stop_loss_price", "take_profit_price",
)  # fmt: skip


def signals_shown(account: StoredAccount) -> dict[str, Any]:
    """Decisions: how many were taken, what rejected the others, and a chart by day."""
    book = account.book
    decided, taken = book.decisions, int(book.decisions["taken"].sum())
    rejections = book.rejections.rename({"signal_ts": "newest"})
    chart = charts.decisions(decided, f"Account {book.name}")
    return _about(account, decided.height) | {
        "taken": taken,
        "rejected": decided.height - taken,
        "rejections": metadata.table(rejections),
        "newest": metadata.table(_newest(decided.select(_DECISION_COLUMNS))),
        "decisions": metadata.picture(chart, "Signals by day and decision"),
    }


def trades_shown(store: Store, account: StoredAccount) -> dict[str, Any]:
    """Closed trades: their sums and figures by strategy and tier, charts, and the newest one on its candles."""
    book = account.book
    figures, title = book.figures, f"Account {book.name}"
    groups = [("all", figures), *book.by_strategy.items(), *book.by_tier.items()]
    shown = _about(account, book.trades.height) | {
        "net_profit": f"{money_text(figures.pnl)} {book.currency}",
        "fees": f"{money_text(figures.fees)} {book.currency}",
        "slippage": f"{money_text(figures.slippage)} {book.currency}",
        "figures": metadata.table(pl.DataFrame([_row(name, one) for name, one in groups])),
        "newest": metadata.table(_newest(book.trades.select(_TRADE_COLUMNS))),
        "open_positions": metadata.table(account.positions.select(_POSITION_COLUMNS)),
    }
    if book.trades.height:
        shown["profit"] = metadata.picture(charts.profit_by_strategy(book.trades, title), "Net profit by strategy")
        shown["returns"] = metadata.picture(charts.trade_returns(book.trades, title), "Net returns")
        shown["newest_trade"] = metadata.picture(_example(store, book.trades.row(-1, named=True)), "The newest trade")
    return shown


def equity_shown(account: StoredAccount) -> dict[str, Any]:
    """The account: what it is worth, its figures on 365 days, and the curve with its drawdowns."""
    book, figures, last = account.book, account.book.equity_figures, account.last
    shown = _about(account, book.equity.height)
    if figures is None or last is None:
        return shown
    told = figures.as_dict()
    told |= {f"drawdown_{name}": value for name, value in (told.pop("drawdown") or {}).items()}
    rows = [(name, _text(value)) for name, value in told.items()]
    table = pl.DataFrame(rows, schema={"figure": pl.String(), "value": pl.String()}, orient="row")
    return shown | {
        "state": last["state"],
        "equity": f"{money_text(last['equity'])} {book.currency}",
        "cash": f"{money_text(last['cash'])} {book.currency}",
        "positions": f"{money_text(last['positions'])} {book.currency}",
        "drawdown_now": f"{figures.current_drawdown:.2%}",
        "total_return": figures.total_return,
        "figures": metadata.table(table),
        "curve": metadata.picture(charts.equity_curve(book.equity, f"Account {book.name}"), "Equity and drawdowns"),
    }


def _about(account: StoredAccount, rows: int) -> dict[str, Any]:
    book = account.book
    return {
        "dagster/row_count": rows,
        "span": metadata.span_text(book.start, book.end),
        "parameters": account.row.parameters_hash,
    }


def _row(name: str, one: TradeFigures) -> dict[str, Any]:
    return {
        "of": name, "trades": one.trades, "won": _rounded(one.win_rate), "net_profit": _cents(one.pnl),
        "before_costs": _cents(one.gross), "fees": _cents(one.fees), "slippage": _cents(one.slippage),
        "mean_net_return": _rounded(one.expectancy), "profit_factor": _rounded(one.profit_factor),
        "mean_hours": _rounded(one.mean_hours), **{key: one.outcomes.get(key, 0) for key in ("TP", "SL", "TIME")},
    }  # fmt: skip


def _cents(amount: Decimal) -> float:
    return round(float(amount), 2)


def _text(value: object) -> str:
    """A figure with four digits after the point; a moment to the minute."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,.4f}" if isinstance(value, float) else "–" if value is None else str(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.tail(_NEWEST).reverse()


def _example(store: Store, trade: dict[str, Any]) -> bytes:
    """The trade on its candles, with half a day before and a quarter of one after it."""
    start, end = trade["signal_ts"] - _DAY / 2, trade["exit_ts"] + _DAY / 4
    bars = store.reader.read([trade["instrument"]], TIMEFRAME, start, end)
    label = {
        **trade, "label_end_ts": trade["exit_ts"], "take_profit": trade["take_profit_price"],
        "stop_loss": trade["stop_loss_price"], "entry_px": trade["entry_price"], "exit_px": trade["exit_price"],
        "average_px": trade["average_price"],
        "horizon": (trade["exit_ts"] - trade["entry_ts"]) // TIMEFRAME.delta,
        "bars_to_touch": (trade["exit_ts"] - trade["entry_ts"]) // TIMEFRAME.delta,
    }  # fmt: skip
    return label_charts.example(bars, TIMEFRAME.delta, label, f"{trade['strategy'].upper()} {trade['instrument']}")
