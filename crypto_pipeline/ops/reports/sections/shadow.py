"""Shadow variants: what each did beside production, with intervals, and what the newest test recommends."""

from __future__ import annotations

from decimal import Decimal

from crypto_pipeline.ops.reports.content import ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.trading.stored.shadow.shown import comparison_rows, stored_report, test_words

_TITLE = "Shadow variants"
_FIGURES = ("net", "drawdown", "difference", "low", "high")


def shadow(source: ReportSource) -> ReportSection:
    """Every variant against production, as the last pass of the night left them."""
    report = stored_report(source.store, source.settings)
    if report.compared is None or report.days is None:
        return ReportSection("shadow", _TITLE, f"Nothing is compared yet: {report.because}.")
    rows = [
        (row["strategy"], row["variant"], row["trades"], *(_rounded(row[name]) for name in _FIGURES), row["because"])
        for row in comparison_rows(report.compared).iter_rows(named=True)
    ]
    head = (
        "strategy",
        "variant",
        "trades",
        "net, %",
        "drawdown, %",
        "a day more, %",
        "from",
        "to",
        "cannot be because",
    )
    said = f"{report.days[0]} to {report.days[1]}. Newest test: {test_words(report.test)}."
    return ReportSection("shadow", _TITLE, said, "plain", [ReportTable(head, rows)])


def _rounded(value: float) -> Decimal:
    return Decimal(f"{value:.3f}")
