"""An account's book as a page with charts and tables: of a replay, of a variant, or as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

import polars as pl

from crypto_pipeline.ops.charts import trading as drawn
from crypto_pipeline.ops.reports.content import ReportSection, ReportTable
from crypto_pipeline.ops.reports.html import page_html
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline.trading.portfolio.equity_figures import LEAST_DAYS, YEAR, Drawdown
from crypto_pipeline.trading.portfolio.trade_figures import TradeFigures

#: Trades that the page lists: those that gained and lost most.
_MOST_TRADES = 15
_CENT = Decimal("0.01")
_GROUP_COLUMNS = (
    "trades", "won, %", "net profit", "before costs", "fees", "slippage", "mean net return, %", "profit ÷ loss",
    "mean hours", "TP", "SL", "TIME",
)  # fmt: skip


def book_page(book: TradingBook, title: str) -> str:
    """The whole page as one HTML document that needs nothing else."""
    return page_html(title, f"{_moment(book.start)} to {_moment(book.end)} UTC", book_sections(book))


def book_sections(book: TradingBook, *, charts: bool = True) -> list[ReportSection]:
    """Result, equity, trades by group, single trades, decisions, and what it was made with; with or without charts."""
    sections = [_result(book), _trades(book), _single(book), _decisions(book), _facts(book)]
    if not charts:
        return sections
    return [replace(one, charts=_charts(book, one.name)) for one in sections]


def _charts(book: TradingBook, section: str) -> dict[str, bytes]:
    """The charts of a section by their titles."""
    if section == "result" and not book.equity.is_empty():
        return {"Equity, drawdowns, share in positions": drawn.equity_curve(book.equity, book.name)}
    if section == "trades" and not book.trades.is_empty():
        return {
            "Net profit by strategy": drawn.profit_by_strategy(book.trades, book.name),
            "Net returns": drawn.trade_returns(book.trades, book.name),
        }
    if section == "decisions" and not book.decisions.is_empty():
        return {"Signals by day and decision": drawn.decisions(book.decisions, book.name)}
    return {}


def money(amount: Decimal) -> Decimal:
    """A sum to the cent, as people read it."""
    return amount.quantize(_CENT, ROUND_HALF_EVEN)  # ccxt changes the rounding of the whole thread


def rounded(value: float | None) -> Decimal | None:
    """A figure with two places."""
    return None if value is None else money(Decimal(value))


def percent(share: float | None) -> Decimal | None:
    """A share in percent, with two places."""
    return None if share is None else rounded(100 * share)


def _result(book: TradingBook) -> ReportSection:
    figures = book.equity_figures
    if figures is None:
        return ReportSection("result", "Result", "Nothing was booked: the span has no closed bar.", "unknown")
    fall = figures.drawdown
    deepest = "no drawdown" if fall is None else f"deepest drawdown {percent(fall.depth)} %"
    said = (
        f"{figures.start_equity:,.2f} became {figures.end_equity:,.2f} {book.currency} "
        f"({100 * figures.total_return:+.2f} %) in {figures.days:.1f} days; {book.figures.trades} trades, {deepest}."
    )
    if figures.annual_return is None:
        said += f" Nothing is annualised below {LEAST_DAYS} days."
    rows = [
        ("total return, %", percent(figures.total_return)),
        ("annual return, %", percent(figures.annual_return)),
        ("volatility of a year, %", percent(figures.volatility)),
        ("Sharpe ratio", rounded(figures.sharpe)),
        ("Sortino ratio", rounded(figures.sortino)),
        ("Calmar ratio", rounded(figures.calmar)),
        ("best day, %", percent(figures.best_day)),
        ("worst day, %", percent(figures.worst_day)),
        ("mean share in positions, %", percent(figures.mean_exposure)),
        ("greatest share in positions, %", percent(figures.most_exposure)),
        ("time with a position, %", percent(figures.time_in_market)),
        *_drawdown_rows(fall),
    ]
    table = ReportTable(("figure", "value"), rows, f"Days end at 00:00 UTC, a year has {YEAR} of them")
    return ReportSection("result", "Result", said, "plain", [table])


def _drawdown_rows(fall: Drawdown | None) -> list[tuple[str, object]]:
    if fall is None:
        return [("deepest drawdown, %", 0)]
    return [
        ("deepest drawdown, %", percent(fall.depth)),
        ("it began", fall.peak),
        ("it was deepest", fall.trough),
        ("it was made good", fall.recovered),
    ]


def _trades(book: TradingBook) -> ReportSection:
    if book.trades.is_empty():
        return ReportSection("trades", "Trades", "No trade was closed.")
    figures = book.figures
    said = (
        f"{figures.trades} trades, {figures.wins} won; net {money(figures.pnl):,} {book.currency} after "
        f"{money(figures.fees):,} of fees and {money(figures.slippage):,} of slippage."
    )
    groups = [("strategy", book.by_strategy), ("tier", book.by_tier), ("month", book.by_month)]
    tables = [_table({"all": figures}, "all")] + [_table(found, name) for name, found in groups]
    return ReportSection("trades", "Trades", said, "plain", tables)


def _table(groups: Mapping[str, TradeFigures], name: str) -> ReportTable:
    return ReportTable((name, *_GROUP_COLUMNS), [(key, *_row(one)) for key, one in groups.items()])


def _row(one: TradeFigures) -> tuple[object, ...]:
    return (
        one.trades, percent(one.win_rate), money(one.pnl), money(one.gross), money(one.fees),
        money(one.slippage), percent(one.expectancy), rounded(one.profit_factor), rounded(one.mean_hours),
        *(one.outcomes.get(outcome, 0) for outcome in ("TP", "SL", "TIME")),
    )  # fmt: skip


def _single(book: TradingBook) -> ReportSection:
    ordered, half = book.trades.sort("pnl", descending=True), _MOST_TRADES
    whole = ordered.height <= 2 * half
    chosen = ordered if whole else pl.concat([ordered.head(half), ordered.tail(half)])
    words = "All of them" if whole else f"The {half} that gained and the {half} that lost most"
    columns = ("strategy", "instrument", "opened (UTC)", "closed (UTC)", "outcome", "spent", "net profit", "%")
    rows = [
        (row["strategy"], row["instrument"], row["entry_ts"], row["exit_ts"], row["outcome"], money(row["paid"]),
         money(row["pnl"]), percent(row["net_return"]))
        for row in chosen.iter_rows(named=True)
    ]  # fmt: skip
    tables = [ReportTable(columns, rows)] if rows else []
    return ReportSection("single", "Single trades", f"{words}." if rows else "None.", "plain", tables)


def _decisions(book: TradingBook) -> ReportSection:
    total, rejected = book.decisions.height, int(book.rejections["signals"].sum())
    said = f"{total} signals: {total - rejected} were taken, {rejected} were rejected."
    if not total:
        return ReportSection("decisions", "Decisions", "There was no signal.")
    columns = ("rejected because of", "signals", "newest (UTC)", "strategy", "instrument", "value", "threshold")
    rows = [
        (row["limit_name"], row["signals"], row["signal_ts"], row["strategy"], row["instrument"],
         _text(row["limit_value"]), _text(row["limit_threshold"]))
        for row in book.rejections.iter_rows(named=True)
    ]  # fmt: skip
    tables = [ReportTable(columns, rows)] if rows else []
    return ReportSection("decisions", "Decisions", said, "plain", tables)


def _facts(book: TradingBook) -> ReportSection:
    rows: Iterable[tuple[str, str]] = book.facts.items()
    said = "The same bars, parameters and predictions give the same page again."
    return ReportSection("facts", "Made with", said, "plain", [ReportTable(("what", "value"), list(rows))])


def _text(value: float | None) -> str | None:
    """A figure of any size: ``shown`` would round a price of 0.00000123 to 0.0."""
    return None if value is None else f"{value:.6g}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
