"""The content of a report: sections with sentences, tables and charts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

#: The two reports of a day.
ReportName = Literal["morning", "afternoon"]
Mood = Literal["good", "bad", "unknown", "plain"]


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table: column titles and rows of values; numbers are right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready but for times."""
        return {"title": self.title, "columns": list(self.columns), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class ReportSection:
    """One section.

    Attributes:
        name: Of its definition in the registry.
        title: For people.
        headline: The section in one sentence.
        mood: Whether the headline is good or bad news.
        tables: What it says in detail.
        charts: PNG files by title.
    """

    name: str
    title: str
    headline: str
    mood: Mood = "plain"
    tables: Sequence[ReportTable] = ()
    charts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportContent:
    """A whole report; times are in UTC.

    Attributes:
        report: morning or afternoon.
        local_date: The date in ``time_zone``.
        start: Begin of the span that it tells of.
        end: End of that span, the moment at which it was made.
        deployment: Name of the deployment.
    """

    report: ReportName
    local_date: date
    time_zone: str
    start: datetime
    end: datetime
    deployment: str
    sections: Sequence[ReportSection]

    @property
    def title(self) -> str:
        """The report in a few words."""
        return f"{self.report.capitalize()} report of {self.local_date:%Y-%m-%d}, {self.deployment}"

    @property
    def bad(self) -> list[ReportSection]:
        """Sections with bad news."""
        return [one for one in self.sections if one.mood == "bad"]

    def charts(self) -> dict[str, bytes]:
        """Every chart by its title."""
        return {title: png for section in self.sections for title, png in section.charts.items()}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready but for times and dates; charts by their titles alone."""
        return {
            "report": self.report,
            "local_date": self.local_date,
            "time_zone": self.time_zone,
            "start": self.start,
            "end": self.end,
            "deployment": self.deployment,
            "sections": [
                {
                    "name": one.name,
                    "title": one.title,
                    "headline": one.headline,
                    "mood": one.mood,
                    "tables": [
                        {
                            "title": table.title,
                            "columns": list(table.columns),
                            "rows": [list(row) for row in table.rows],
                        }
                        for table in one.tables
                    ],
                    "charts": list(one.charts),
                }
                for one in self.sections
            ],
        }


def shown(value: Any) -> str:
    """A value of a table as people read it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, Decimal):  # as many places as it was given
        return f"{value:,f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
