"""Retention and archive as assets: every night what is due leaves the tables, every month the last one is compacted."""

from typing import Any

import dagster as dg

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.jobs import LOW, tags
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.ops.housekeeping.retention import check_look_backs, forget_features, open_retention
from crypto_pipeline.ops.housekeeping.retention_report import archive_frame, retention_frame
from crypto_pipeline.settings import load_settings

GROUP = "operations"
OWNERS = ["team:market-data"]
_ON = dg.DefaultScheduleStatus.RUNNING

# At start, not when it is too late: what somebody reads must not have been taken away.
check_look_backs(load_settings())


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"postgres", "parquet"}, deps=["coverage"])
def bar_archive(context: dg.AssetExecutionContext, database: Market) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Bars, their history and trades that are past their time in the tables: in Parquet files, verified, catalogued.

    Rows leave a table in the same transaction in which their files become the truth of the span. A run that was killed
    is simply run again. Policy: the setting retention (research or lean); single figures by keep_hot_days, keep_days,
    keep_min_bars and keep_trades_days. Features leave by whole months, as keep_features_days says.
    """
    with database.store() as store:
        report = open_retention(store, load_settings()).run(progress=context.log.info)
        months = forget_features(store, load_settings())
        files = archive_frame(store.archive.files(None))
    shown = {name: value for name, value in report.as_dict().items() if isinstance(value, int | float)}
    return dg.MaterializeResult(
        metadata={
            **shown,
            "months_of_features_dropped": ", ".join(f"{month:%Y-%m}" for month in months) or "none",
            "this_run": metadata.table(retention_frame(report)),
            "waiting": dg.MetadataValue.json(report.as_dict()["waiting"]),
            "archive": metadata.table(files),
        }
    )


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"postgres"}, deps=["coverage"])
def compacted_months(context: dg.AssetExecutionContext, database: Market) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Closed months of 1m bars in the order of their key, so that one instrument's month lies together."""
    with database.store() as store:
        done = open_retention(store, load_settings()).compact(progress=context.log.info)
    return dg.MaterializeResult(
        metadata={
            "months": [str(one.span) for one in done],
            "rows": sum(one.rows for one in done),
            "bytes_before": sum(one.bytes_before for one in done),
            "bytes_after": sum(one.bytes_after for one in done),
            "longest_switch_seconds": round(max((one.switch_seconds for one in done), default=0.0), 3),
        }
    )


retention = dg.define_asset_job(
    "retention",
    selection=dg.AssetSelection.assets(bar_archive),
    tags=tags(LOW, "retention"),
    description="Archives what is past its time in the tables, and drops what is past its time altogether.",
)
compaction = dg.define_asset_job(
    "compaction",
    selection=dg.AssetSelection.assets(compacted_months),
    tags=tags(LOW, "compaction"),
    description="Sorts closed months of 1m bars by instrument and time, while readers go on.",
)


@dg.schedule(
    job=retention,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=_ON,
    description="Every night: archives and drops what is past its time in the tables.",
)
def nightly_retention(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Daily 03:00 UTC, after the gap monitor: what is due leaves the tables."""
    return dg.RunRequest(run_key=f"retention:{context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(
    job=compaction,
    cron_schedule="0 5 3 * *",
    execution_timezone="UTC",
    default_status=_ON,
    description="Every month on the 3rd: sorts the 1m bars of the month that has ended, so that reads are fast.",
)
def monthly_compaction(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On the 3rd at 05:00 UTC: the month that has just ended, before the archive takes it."""
    return dg.RunRequest(run_key=f"compaction:{context.scheduled_execution_time:%Y-%m}")


RETENTION_ASSETS = [bar_archive, compacted_months]
RETENTION_JOBS: list[Any] = [retention, compaction]
RETENTION_SCHEDULES = [nightly_retention, monthly_compaction]
