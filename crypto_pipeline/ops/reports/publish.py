"""Makes a report once for each kind and local date: the files, the row, and the message in the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.ops.alerting.channels.registry import channels_for, configured_channels
from crypto_pipeline.ops.reports.build import build_report
from crypto_pipeline.ops.reports.content import ReportContent, ReportName
from crypto_pipeline.ops.reports.html import report_html
from crypto_pipeline.ops.reports.slack import report_message
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.notifications.outbox import Outbox
from crypto_pipeline.store.operations.notifications.reports import Reports


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """A report that was made. ``new``: whether it was stored and sent now; else there was one already."""

    content: ReportContent
    file: Path
    new: bool


def reports_dir(settings: Settings) -> Path:
    """Where the files of reports lie."""
    return settings.data_dir / "reports"


def publish(settings: Settings, store: Store, url: str, report: ReportName, day: date) -> PublishedReport:
    """Make the report of a local date, write its files, and store it with its message in one transaction.

    Where there is one of this kind and date, it stays, and nothing is sent: what was made now is only returned. Raises
    OSError where the files cannot be written.
    """
    content = build_report(settings, store, url, report, day)
    folder = reports_dir(settings) / f"{day:%Y-%m-%d}-{report}"
    file = folder / "report.html"
    if Reports(store.connections).get(report, day) is not None:
        return PublishedReport(content, file, new=False)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for number, (title, png) in enumerate(content.charts().items(), 1):
        path = folder / f"chart-{number}.png"
        path.write_bytes(png)
        pictures[title] = str(path)
    file.write_text(report_html(content), "utf-8")
    message = report_message(content, pictures, str(file))
    channels = channels_for("reports", configured_channels(settings))

    def store_once(connection: psycopg.Connection[Any]) -> bool:
        values = {
            "report": report,
            "local_date": day,
            "time_zone": content.time_zone,
            "span_start": content.start,
            "span_end": content.end,
            "content": content.as_dict(),
            "file": str(file),
        }
        if not Reports.put(connection, values):
            return False
        Outbox.put(connection, "report", channels, message.body(), key=f"report:{report}:{day}")
        return True

    return PublishedReport(content, file, store.connections.run(store_once))
