"""Makes the content of a report from the store. A section that cannot be made is named, and stops no other."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from datetime import UTC, date, datetime

from crypto_pipeline.ops.reports.content import ReportContent, ReportName, ReportSection
from crypto_pipeline.ops.reports.registry import SectionDefinition, sections_of
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.ops.reports.times import told_span
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

log = logging.getLogger(__name__)


def build_report(
    settings: Settings,
    store: Store,
    url: str,
    report: ReportName,
    day: date,
    sections: Iterable[SectionDefinition] | None = None,
) -> ReportContent:
    """The report of a local date, with the state of checks and disk of now; ``url`` is the database's.

    ``sections`` are those of the registry unless a test gives others.
    """
    zone = settings.report_time_zone
    now = datetime.now(UTC)
    start, end = told_span(report, day, zone, now)
    source = ReportSource(settings, store, url, report, start, end, now)
    made = [_made(one, source) for one in (sections_of(report) if sections is None else sections)]
    name = settings.deployment_name or socket.gethostname()
    return ReportContent(report, day, zone, start, end, name, made)


def _made(definition: SectionDefinition, source: ReportSource) -> ReportSection:
    try:
        return definition.make(source)
    except Exception as error:  # whatever is wrong with one section, people get the others
        log.exception("the section %s of the %s report cannot be made", definition.name, source.report)
        said = f"This section cannot be made ({type(error).__name__}); the log of the run says why."
        return ReportSection(definition.name, definition.title, said, "bad")
