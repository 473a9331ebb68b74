"""Trading: signals and positions in the morning; in the afternoon profits, trades, and what was rejected and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from crypto_pipeline.market.times import midnight
from crypto_pipeline.ops.charts.trading import equity_curve
from crypto_pipeline.ops.reports.content import Mood, ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.ops.reports.trading_page import money, percent, rounded
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline.trading.portfolio.trade_figures import figures_by, trade_figures
from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader, StoredAccount
from crypto_pipeline.trading.stored.risk_report import risk_report

_NOTHING = "Nothing was traded yet."
_MOST_POSITIONS = 20
_KEY = ["strategy", "instrument", "signal_ts"]


def _account(source: ReportSource) -> StoredAccount | None:
    found = PortfolioReader(source.store, source.settings).account()
    return None if found is None or found.last is None else found


def signals(source: ReportSource) -> ReportSection:
    """Signals of the span by strategy: how many, how many were taken, and what rejected most of the others."""
    found = _account(source)
    if found is None:
        return ReportSection("signals", "Signals", _NOTHING)
    decided = _within(found.book.decisions, "moment", source)
    rows = []
    for (name,), part in sorted(decided.group_by("strategy"), key=lambda each: str(each[0])):
        reasons = part["limit_name"].drop_nulls().value_counts(sort=True)
        most = reasons.row(0) if reasons.height else (None, None)
        rows.append((name, part.height, int(part["taken"].sum()), *most))
    said = f"{decided.height} signals, {int(decided['taken'].sum())} of them taken, from {_span(source)}."
    columns = ("strategy", "signals", "taken", "most rejected by", "times")
    return ReportSection("signals", "Signals", said, "plain", [ReportTable(columns, rows)] if rows else [])


def positions(source: ReportSource) -> ReportSection:
    """Open positions, exposure, and how much of each limit is used."""
    found = _account(source)
    if found is None or found.last is None:
        return ReportSection("positions", "Positions", _NOTHING)
    last, currency = found.last, found.book.currency
    share = float(last["positions"] / last["equity"]) if last["equity"] else 0.0
    said = (
        f"{found.positions.height} open, worth {money(last['positions']):,} {currency} ({percent(share)} % of equity); "
        f"the account is {last['state']}."
    )
    rows = [
        (row["strategy"], row["instrument"], row["entry_ts"], money(row["value"]), money(row["result"]),
         _price(row["stop_loss_price"]), _price(row["take_profit_price"]))
        for row in found.positions.head(_MOST_POSITIONS).iter_rows(named=True)
    ]  # fmt: skip
    columns = ("strategy", "instrument", "since (UTC)", f"value, {currency}", "open profit", "stop", "target")
    mood: Mood = "plain" if last["state"] == "ACTIVE" else "bad"
    tables = [ReportTable(columns, rows)] if rows else []
    return ReportSection("positions", "Positions", said, mood, [*tables, _limits(source)])


def _limits(source: ReportSource) -> ReportTable:
    """What is used of each limit, those that bind first."""
    limits = sorted(risk_report(source.store, source.settings).limits, key=lambda one: not one.binds)
    rows = [
        (one.limit, one.instrument, rounded(one.used), rounded(one.allowed), "binds" if one.binds else "")
        for one in limits
    ]
    return ReportTable(("limit", "of", "used", "allowed", "now"), rows, "Limits")


def profits(source: ReportSource) -> ReportSection:
    """Net profit of the day, the week and in total, with fees, trades, and wins against what was predicted."""
    found = _account(source)
    if found is None or found.last is None:
        return ReportSection("profits", "Profits", _NOTHING)
    book, last = found.book, found.last
    day = midnight(source.market_now)
    spans = [
        ("today", day, last["equity"] - last["day_mark"]),
        ("this week", day - timedelta(days=day.weekday()), last["equity"] - last["week_mark"]),
        ("in total", book.start, last["equity"] - found.row.capital),
    ]
    rows = [(name, money(change), *_of_trades(book, since)) for name, since, change in spans]
    said = (
        f"{money(spans[0][2]):+,} {book.currency} today, {money(spans[1][2]):+,} this week, {money(spans[2][2]):+,} in "
        f"total; equity {money(last['equity']):,}."
    )
    columns = (
        "span (UTC)", "net, open trades marked", "closed trades", "won, %", "predicted, %", "mean net return, %",
        "fees", "slippage",
    )  # fmt: skip
    groups = figures_by(book.trades, "strategy")
    by_strategy = [
        (name, one.trades, percent(one.win_rate), money(one.pnl), percent(one.expectancy))
        for name, one in groups.items()
    ]
    tables = [ReportTable(columns, rows)]
    if by_strategy:
        names = ("strategy", "closed trades", "won, %", "net profit", "mean net return, %")
        tables.append(ReportTable(names, by_strategy, "In total"))
    return ReportSection("profits", "Profits", said, "plain", tables, {"Equity": equity_curve(book.equity, "Account")})


def _of_trades(book: TradingBook, since: datetime) -> tuple[object, ...]:
    """Figures of the trades that ended from ``since`` on, and the mean probability that models gave them."""
    closed = book.trades.filter(pl.col("exit_ts") > since)
    figures = trade_figures(closed)
    predicted = closed.join(book.decisions.select(*_KEY, "probability"), on=_KEY, how="inner")["probability"].mean()
    return (
        figures.trades, percent(figures.win_rate), percent(predicted if isinstance(predicted, float) else None),
        percent(figures.expectancy), money(figures.fees), money(figures.slippage),
    )  # fmt: skip


def rejections(source: ReportSource) -> ReportSection:
    """What rejected the signals of the span, with the newest of each reason."""
    found = _account(source)
    if found is None:
        return ReportSection("rejections", "Rejected signals", _NOTHING)
    decided = _within(found.book.decisions, "moment", source)
    rejected = decided.drop_nulls("limit_name")
    said = f"{rejected.height} of {decided.height} signals were rejected, from {_span(source)}."
    newest = pl.col("signal_ts", "strategy", "instrument", "limit_value", "limit_threshold").last()
    counted = rejected.group_by("limit_name").agg(pl.len().alias("signals"), newest).sort("signals", descending=True)
    rows = [
        (row["limit_name"], row["signals"], row["signal_ts"], f"{row['strategy']} {row['instrument']}",
         f"{row['limit_value']:.6g}", f"{row['limit_threshold']:.6g}")
        for row in counted.iter_rows(named=True)
    ]  # fmt: skip
    columns = ("reason", "signals", "newest (UTC)", "of", "found", "allowed")
    return ReportSection("rejections", "Rejected signals", said, "plain", [ReportTable(columns, rows)] if rows else [])


def _within(rows: pl.DataFrame, time: str, source: ReportSource) -> pl.DataFrame:
    start, end = source.market_span
    return rows.filter(pl.col(time).is_between(start, end, closed="right"))


def _span(source: ReportSource) -> str:
    start, end = source.market_span
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _price(value: float | None) -> Decimal | None:
    """A price with all of its digits."""
    return None if value is None else Decimal(repr(value))
