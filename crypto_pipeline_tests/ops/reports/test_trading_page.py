"""The page of an account's book: what it says agrees with the book, and a book without anything has a page."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext

import pytest

from crypto_pipeline.ops.reports.content import ReportSection, shown
from crypto_pipeline.ops.reports.trading_page import book_page, book_sections, money
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline_tests.builders.trading_books import book, trade


def sections(made: TradingBook, *, charts: bool = False) -> dict[str, ReportSection]:
    return {one.name: one for one in book_sections(made, charts=charts)}


def test_it_says_what_the_book_says() -> None:
    found = sections(book(), charts=True)
    assert found["result"].headline.startswith("10,000.00 became 10,020.00 USDT (+0.20 %) in 40.0 days; 2 trades")
    figures = dict(found["result"].tables[0].rows)
    assert figures["deepest drawdown, %"] == Decimal("0.20")
    assert figures["annual return, %"] == Decimal("1.84")
    assert found["trades"].headline.startswith("2 trades, 1 won; net 20.00 USDT after 10.40 of fees and 1.60 of")
    by_strategy = found["trades"].tables[1].rows
    assert [(row[0], row[3]) for row in by_strategy] == [("dca", Decimal("-20.00")), ("swing", Decimal("40.00"))]
    assert found["decisions"].headline == "3 signals: 2 were taken, 1 were rejected."
    assert found["decisions"].tables[0].rows[0][0] == "max_open"
    charts = [png for one in found.values() for png in one.charts.values()]
    assert len(charts) == 4
    assert all(png.startswith(b"\x89PNG") for png in charts)


def test_a_page_is_one_document() -> None:
    page = book_page(book(), "Replay <CHAMPION>")
    assert page.startswith("<!doctype html>")
    assert "Replay &lt;CHAMPION&gt;" in page
    assert page.count("data:image/png;base64,") == 4
    assert "<td class=number>-20.00</td>" in page


@pytest.mark.parametrize("days", [0, 2])
def test_a_book_without_trades_has_a_page(days: int) -> None:
    found = sections(book([], days))
    assert found["trades"].headline == "No trade was closed."
    assert found["decisions"].headline == "There was no signal."
    assert "0 trades, no drawdown" in found["result"].headline
    assert "Nothing is annualised below 30 days" in found["result"].headline


def test_a_book_without_a_moment_says_so() -> None:
    made = book([])
    empty = TradingBook(made.name, "USDT", made.start, made.start, made.decisions, made.trades, made.equity.clear())
    assert sections(empty)["result"].headline == "Nothing was booked: the span has no closed bar."


def test_many_trades_are_listed_from_both_ends() -> None:
    many = [trade(number, str(number - 20)) for number in range(40)]
    single = sections(book(many))["single"]
    assert single.headline == "The 15 that gained and the 15 that lost most."
    profits = [row[6] for row in single.tables[0].rows]
    assert profits[0] == 19
    assert profits[-1] == -20
    assert len(profits) == 30


@pytest.mark.parametrize("rounding", [ROUND_HALF_EVEN, ROUND_HALF_UP])
def test_sums_are_shown_with_their_cents(rounding: str) -> None:
    """Whatever the thread rounds by: ccxt changes that when it formats a number."""
    with localcontext(rounding=rounding):
        assert shown(money(Decimal("1234567.005"))) == "1,234,567.00"
    assert shown(Decimal("0.00000123")) == "0.00000123"
