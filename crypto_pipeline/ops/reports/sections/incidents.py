"""Errors grouped by what raised them, the jobs of the span, and what is scheduled next."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from crypto_pipeline.ops.alerting.messages import cut
from crypto_pipeline.ops.checks.subjects.scheduled import zone_of
from crypto_pipeline.ops.reports.content import Mood, ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.store.database_url import dagster_url
from crypto_pipeline.store.operations.figures.dagster_facts import open_dagster, read_instigators

#: Seconds to connect to Dagster's database.
_CONNECT = 5
_MOST_COMING = 20


def incidents(source: ReportSource) -> ReportSection:
    """Alerts that opened in the span or are open, one row for each source."""
    rows = source.reads.alerts(source.start, source.end)
    open_ones = [row for row in rows if row["open"]]
    grave = [row for row in open_ones if row["severity"] in ("critical", "error")]
    said = "Nothing went wrong." if not rows else f"{len(rows)} kinds of alerts, {len(open_ones)} of them open."
    columns = ("source", "severity", "times", "open", "newest (UTC)", "because")
    shown = [
        (row["source"], row["severity"], row["times"], row["open"], row["newest"], cut(row["summary"], 200))
        for row in rows
    ]
    mood: Mood = "bad" if grave else "plain" if rows else "good"
    return ReportSection("incidents", "Errors, grouped", said, mood, [ReportTable(columns, shown)] if rows else [])


def jobs(source: ReportSource) -> ReportSection:
    """Runs of jobs in the span, those that failed first."""
    rows = source.reads.jobs(source.start, source.end)
    failed = sum(row["failed"] for row in rows)
    runs = sum(row["runs"] for row in rows)
    said = f"{runs:,} pieces of work were done, {failed:,} failed."
    columns = ("job", "times", "failed", "rows", "gaps found", "gaps filled")
    shown = [tuple(row[name] for name in row) for row in rows]
    tables = [ReportTable(columns, shown)] if rows else []
    return ReportSection("jobs", "Jobs", said, "bad" if failed else "good", tables)


def coming(source: ReportSource) -> ReportSection:
    """What Dagster does by schedule in the next 24 hours."""
    with closing(open_dagster(dagster_url(source.settings, source.url), _CONNECT)) as connection:
        schedules = [one for one in read_instigators(connection) if one.kind == "SCHEDULE" and one.cron and one.running]
    now = datetime.now(UTC)
    times = []
    for one in schedules:
        at = next(CronSim(str(one.cron), now.astimezone(ZoneInfo(zone_of(one.name, source.settings)))))
        if at - now <= timedelta(days=1):
            times.append((at.astimezone(UTC), one.name))
    times.sort()
    said = "Dagster has no schedule that is on." if not times else f"{len(times)} schedules run within a day."
    shown = times[:_MOST_COMING]
    table = ReportTable(("at (UTC)", "schedule"), shown)
    return ReportSection("next", "Next scheduled jobs", said, "plain" if times else "bad", [table] if times else [])
