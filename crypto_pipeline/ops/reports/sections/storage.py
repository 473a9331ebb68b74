"""When the disk is full at the growth of now."""

from __future__ import annotations

from crypto_pipeline.ops.charts.storage import storage_chart
from crypto_pipeline.ops.housekeeping.storage_report import judge, report
from crypto_pipeline.ops.reports.content import ReportSection
from crypto_pipeline.ops.reports.source import ReportSource


def disk(source: ReportSource) -> ReportSection:
    """The forecast of the disk with its chart."""
    measured = report(source.settings, source.store, source.url)
    bad = [one for one in judge(source.settings, measured) if one.name == "disk_lasts" and not one.passed]
    charts = {"Disk": storage_chart(measured)}
    said = bad[0].summary if bad else measured.headline()
    return ReportSection("disk", "Disk", said, "bad" if bad else "good", (), charts)
