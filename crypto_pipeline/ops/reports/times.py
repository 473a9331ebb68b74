"""Which report is due and which span it tells of, in the time zone of the reports. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from crypto_pipeline.ops.reports.content import ReportName

#: Local hours of the reports.
HOURS: dict[ReportName, int] = {"morning": 9, "afternoon": 17}


def cron(report: ReportName) -> str:
    """When the report is made, in its time zone."""
    return f"0 {HOURS[report]} * * *"


def local_date(at: datetime, zone: str) -> date:
    """The date of a moment in the time zone."""
    return at.astimezone(ZoneInfo(zone)).date()


def due_at(report: ReportName, day: date, zone: str) -> datetime:
    """The moment (UTC) at which the report of a local date is due.

    A local time that a change of the clock leaves out is that much later; of one that there is twice, the first counts.
    """
    return datetime.combine(day, time(HOURS[report]), ZoneInfo(zone)).astimezone(UTC)


def span_of(report: ReportName, day: date, zone: str) -> tuple[datetime, datetime]:
    """The span that the report of a local date tells of, [start, end) in UTC.

    In the morning it is the time since the report of the afternoon before, in the afternoon the time since the local
    day began.
    """
    end = due_at(report, day, zone)
    if report == "morning":
        return due_at("afternoon", day - timedelta(days=1), zone), end
    return datetime.combine(day, time(0), ZoneInfo(zone)).astimezone(UTC), end


def told_span(report: ReportName, day: date, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """The span that a report tells of which is made at ``now``: up to now, unless it is made more than a day late."""
    start, due = span_of(report, day, zone)
    end = now if now < due + timedelta(days=1) else due
    return min(start, end), end


def newest_due(report: ReportName, now: datetime, zone: str) -> date:
    """The local date of the newest report of this kind that is due at ``now``."""
    day = local_date(now, zone)
    return day if due_at(report, day, zone) <= now else day - timedelta(days=1)
