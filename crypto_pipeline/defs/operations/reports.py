"""The reports of 09:00 and 17:00 in the time zone of the settings."""

from datetime import date, timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, tags
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.reports.content import ReportContent, ReportName
from crypto_pipeline.ops.reports.publish import publish
from crypto_pipeline.ops.reports.times import HOURS, cron, local_date, newest_due
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import resolve_url

ASSET, JOB = "daily_report", "make_report"


class ReportConfig(dg.Config):
    """Which report is made."""

    report: str = "morning"
    #: Local date as 2026-01-31; empty: that of the newest one that is due.
    day: str = ""


@dg.asset(
    **OPERATIONS.arguments(),
    kinds={"postgres"},
    deps=["coverage", "storage_report"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=17)),
    description="What happened since the last report: checks, freshness, bars, gaps, errors, disk, as it is sent to "
    "Slack and stored as one HTML file. Made at 09:00 and 17:00 in the zone `report_time_zone`, once for each date.",
)
def daily_report(
    context: dg.AssetExecutionContext, config: ReportConfig, database: MarketDatabase
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Make, store and queue one report; `crypto-pipeline report` shows the same without sending it."""
    settings = load_settings()
    report: ReportName = "afternoon" if config.report == "afternoon" else "morning"
    with database.store() as store:
        now = store.connections.row("SELECT clock_timestamp()")[0]
        zone = settings.report_time_zone
        day = date.fromisoformat(config.day) if config.day else newest_due(report, now, zone)
        published = publish(settings, store, resolve_url(settings), report, day)
    if not published.new:
        context.log.info(f"there was a {report} report of {day} already: it was not sent again")
    return dg.MaterializeResult(
        metadata=_shown(published.content) | {"file": str(published.file), "new": published.new}
    )


def _shown(content: ReportContent) -> dict[str, Any]:
    """Headlines, pictures and tables of the report."""
    lines = [f"- **{one.title}** ({one.mood}): {one.headline}" for one in content.sections]
    shown: dict[str, Any] = {"report": content.title, "headlines": dg.MetadataValue.md("\n".join(lines))}
    for title, png in content.charts().items():
        shown[f"chart: {title}"] = metadata.picture(png, title)
    return shown


make_report = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(daily_report),
    tags=tags(HIGH, "report"),
    description="Makes and sends one report.",
)


def report_schedule(report: ReportName, zone: str) -> dg.ScheduleDefinition:
    """The schedule of one report in an IANA zone."""

    @dg.schedule(
        name=f"{report}_report",
        job=make_report,
        cron_schedule=cron(report),
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"The {report} report, at {HOURS[report]}:00 in the zone of the setting report_time_zone.",
    )
    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = local_date(context.scheduled_execution_time, zone)
        config = ReportConfig(report=report, day=f"{day:%Y-%m-%d}")
        return dg.RunRequest(run_key=f"{report}:{day}", run_config=dg.RunConfig(ops={ASSET: config}))

    return request


@dg.definitions
def reports() -> dg.Definitions:
    """The asset, its job, and the schedules of both reports in the zone of the settings."""
    zone = load_settings().report_time_zone
    schedules = [report_schedule(report, zone) for report in HOURS]
    return dg.Definitions(assets=[daily_report], jobs=[make_report], schedules=schedules)
