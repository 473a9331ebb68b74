"""Retention and archive as assets: every night what is due leaves the tables, every month the last one is compacted."""

from datetime import timedelta

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, dated_schedule, tags
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.housekeeping.retention import forget_features, forget_scans, open_retention
from crypto_pipeline.ops.housekeeping.retention_report import archive_frame, retention_frame
from crypto_pipeline.settings import load_settings


@dg.asset(
    **OPERATIONS.arguments("market"),
    kinds={"postgres", "parquet"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=54), warn_window=timedelta(hours=30)),
)
def bar_archive(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Bars, their history and trades that are past their time in the tables: in Parquet files, verified, catalogued.

    Rows leave a table in the same transaction in which their files become the truth of the span. A run that was killed
    is simply run again. Policy: the setting retention (research or lean); single figures by keep_hot_days, keep_days,
    keep_min_bars and keep_trades_days. Features leave by whole months, as keep_features_days says, scans by whole days
    (keep_scan_days), of which numbers are left.
    """
    with database.store() as store:
        report = open_retention(store, load_settings()).run(progress=context.log.info)
        months = forget_features(store, load_settings())
        scanned = forget_scans(store, load_settings())
        files = archive_frame(store.archive.files(None))
    shown = {name: value for name, value in report.as_dict().items() if isinstance(value, int | float)}
    return dg.MaterializeResult(
        metadata={
            **shown,
            "dagster/row_count": int(files["rows"].sum()),
            "months_of_features_dropped": ", ".join(f"{month:%Y-%m}" for month in months) or "none",
            "days_of_scans_dropped": ", ".join(map(str, scanned)) or "none",
            "this_run": metadata.table(retention_frame(report)),
            "waiting": dg.MetadataValue.json(report.as_dict()["waiting"]),
            "archive": metadata.table(files),
        }
    )


@dg.asset(
    **OPERATIONS.arguments("market"),
    kinds={"postgres"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=35), warn_window=timedelta(days=32)),
)
def compacted_months(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Closed months of 1m bars in the order of their key, so that one instrument's month lies together."""
    with database.store() as store:
        done = open_retention(store, load_settings()).compact(progress=context.log.info)
    return dg.MaterializeResult(
        metadata={
            "months": [str(one.span) for one in done],
            "dagster/row_count": sum(one.rows for one in done),
            "bytes_before": sum(one.bytes_before for one in done),
            "bytes_after": sum(one.bytes_after for one in done),
            "longest_switch_seconds": round(max((one.switch_seconds for one in done), default=0.0), 3),
        }
    )


retention = asset_job(
    "retention",
    [bar_archive],
    tags(LOW, "retention"),
    "Archives what is past its time in the tables, and drops what is past its time altogether.",
)
compaction = asset_job(
    "compaction",
    [compacted_months],
    tags(LOW, "compaction"),
    "Sorts closed months of 1m bars by instrument and time, while readers go on.",
)

schedules = [
    # After the gap monitor.
    dated_schedule(
        "nightly_retention",
        retention,
        "0 3 * * *",
        "retention:%Y-%m-%d",
        "Every night: archives and drops what is past its time in the tables.",
    ),
    # The month that has just ended, before the archive takes it.
    dated_schedule(
        "monthly_compaction",
        compaction,
        "0 5 3 * *",
        "compaction:%Y-%m",
        "Every month on the 3rd: sorts the 1m bars of the month that has ended, so that reads are fast.",
    ),
]
