"""The sections of the reports, in order. A room that has more to tell adds a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crypto_pipeline.ops.reports.content import ReportName, ReportSection
from crypto_pipeline.ops.reports.sections import bars, checks, incidents, models, shadow, storage, trading
from crypto_pipeline.ops.reports.source import ReportSource

_BOTH: tuple[ReportName, ...] = ("morning", "afternoon")


@dataclass(frozen=True, slots=True)
class SectionDefinition:
    """A section: its name, its title, the reports that have it, and what makes it."""

    name: str
    title: str
    reports: tuple[ReportName, ...]
    make: Callable[[ReportSource], ReportSection]


SECTIONS: tuple[SectionDefinition, ...] = (
    SectionDefinition("score", "Checks", _BOTH, checks.score),
    SectionDefinition("freshness", "Freshness", ("morning",), bars.freshness),
    SectionDefinition("missing", "Instruments without new bars", _BOTH, bars.missing),
    SectionDefinition("bars", "Bars", _BOTH, bars.collected),
    SectionDefinition("gaps", "Gaps", _BOTH, bars.gaps),
    SectionDefinition("features", "Features", ("morning",), checks.features),
    SectionDefinition("signals", "Signals", ("morning",), trading.signals),
    SectionDefinition("positions", "Positions", ("morning",), trading.positions),
    SectionDefinition("profits", "Profits", ("afternoon",), trading.profits),
    SectionDefinition("rejections", "Rejected signals", ("afternoon",), trading.rejections),
    SectionDefinition("models", "Models", ("morning",), models.ages),
    SectionDefinition("predictions", "Predictions that have matured", ("afternoon",), models.matured),
    SectionDefinition("forecasts", "Forecasts that have expired", ("afternoon",), models.forecasts),
    SectionDefinition("shadow", "Shadow variants", ("afternoon",), shadow.shadow),
    SectionDefinition("incidents", "Errors, grouped", _BOTH, incidents.incidents),
    SectionDefinition("jobs", "Jobs", ("afternoon",), incidents.jobs),
    SectionDefinition("next", "Next scheduled jobs", ("afternoon",), incidents.coming),
    SectionDefinition("disk", "Disk", ("morning",), storage.disk),
)


def sections_of(report: ReportName) -> list[SectionDefinition]:
    """The sections that this report has, in order."""
    return [one for one in SECTIONS if report in one.reports]
