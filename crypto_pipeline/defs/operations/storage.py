"""Housekeeping: the storage report with its checks, and the nightly maintenance that keeps everything bounded."""

from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, LOW, schedule, tags
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.charts.storage import storage_chart
from crypto_pipeline.ops.dagster_instance import cleanup
from crypto_pipeline.ops.housekeeping.storage_report import StorageReport, judge, readable, report
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import dagster_url, resolve_url
from crypto_pipeline.store.operations import dagster_storage

#: Metrics of jobs and resolved alerts are history for this long.
_HISTORY = timedelta(days=90)

_CHECKS = {
    "disk_lasts": "At the rate of now the disk has room for longer than the settings disk_days_warn and "
    "disk_days_error say.",
    "partitions_ahead": "At least two months of bars and two days of trades have their partitions already.",
    "tables_are_not_bloated": "No large table is mostly unused room.",
}


@dg.asset(
    **OPERATIONS.arguments(),
    kinds={"postgres"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(hours=2)),
    check_specs=[dg.AssetCheckSpec(name, asset="storage_report", description=text) for name, text in _CHECKS.items()],
)
def storage_report(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Size per table, timeframe, index, archive and mirror, growth per day, days until full, bloat, cache hit, slow
    queries, what the next retention run will free. `crypto-pipeline storage` shows the same.
    """
    settings = load_settings()
    with database.store() as store:
        measured = report(settings, store, resolve_url(settings), sample=True)
        verdicts = judge(settings, measured)
        for one in verdicts:
            store.checks.record_result(
                f"storage_{one.name}", None, passed=one.passed, severity=one.severity, summary=one.summary
            )
    return dg.MaterializeResult(
        metadata=_shown(measured),
        check_results=[
            check_result(one.name, "storage_report", passed=one.passed, severity=one.severity, summary=one.summary)
            for one in verdicts
        ],
    )


def _shown(measured: StorageReport) -> dict[str, Any]:
    """The report as metadata; figures that this server does not give are left out."""
    figures = {
        "days_until_full": None if measured.days_until_full is None else round(measured.days_until_full, 1),
        "cache_hit": None if measured.cache_hit is None else round(measured.cache_hit, 4),
        "slow_queries": None if measured.slow_queries is None else metadata.table(readable(measured.slow_queries)),
    }
    return {
        "dagster/row_count": measured.tables.height,
        "headline": measured.headline(),
        "room": metadata.picture(storage_chart(measured), "storage"),
        "database_bytes": measured.database_bytes,
        "bytes_per_day": round(measured.bytes_per_day),
        "freed_by_next_retention": measured.freed_bytes,
        "tables": metadata.table(readable(measured.tables)),
        "indexes": metadata.table(readable(measured.indexes), most=20),
        "archive": metadata.table(readable(measured.archive)),
        "mirror": metadata.table(readable(measured.mirror)),
        "growth": metadata.table(readable(measured.growth)),
        "next_retention": metadata.table(readable(measured.freed)),
        "dagster": metadata.table(readable(measured.dagster.head(10))),
        "backups_bytes": measured.backups_bytes,
        **{name: value for name, value in figures.items() if value is not None},
    }


@dg.op(description="Make the partitions of the coming months and days.")
def make_partitions_ahead(context: dg.OpExecutionContext, database: MarketDatabase) -> None:
    """So that the first bar of a month finds its table."""
    with database.store() as store:
        now = store.clock.now()
        store.storage.make_partitions_ahead(now)
        ahead = store.storage.partitions_ahead(now)
    context.add_output_metadata({"ahead": dg.MetadataValue.json(ahead)})


@dg.op(description="Fresh statistics for the planner, partitioned parents included.", ins={"after": dg.In(dg.Nothing)})
def analyze_tables(context: dg.OpExecutionContext, database: MarketDatabase) -> None:
    """With stale statistics the latest bar of all instruments costs seconds instead of a millisecond."""
    with database.store() as store:
        store.storage.analyze()
        store.storage.tidy_catalogue()
        context.add_output_metadata({"forgotten": dg.MetadataValue.json(store.storage.prune(_HISTORY))})


@dg.op(description="Delete old runs, events and check evaluations of Dagster.", ins={"after": dg.In(dg.Nothing)})
def clean_dagster(context: dg.OpExecutionContext) -> None:
    """Dagster keeps these for ever by itself; the newest state of every partition stays."""
    settings = load_settings()
    url = dagster_url(settings, resolve_url(settings))
    if not dagster_storage.is_there(url):
        context.log.warning("Dagster's storage is not in the database that the settings name: nothing was cleaned")
        return
    keep = timedelta(days=settings.dagster_keep_days)
    done = cleanup.clean(context.instance, url, keep)
    context.log.info(f"deleted {done.runs} runs, {done.checks} evaluations of checks; {done.kept} hold newest states")
    context.add_output_metadata({"runs": done.runs, "kept": done.kept, "check_evaluations": done.checks})


@dg.job(
    tags=tags(LOW, "maintenance"),
    description="Makes partitions ahead, renews the planner's statistics and removes Dagster's old runs and events.",
)
def maintenance() -> None:
    """Partitions ahead, then statistics, then Dagster's own storage."""
    clean_dagster(after=analyze_tables(after=make_partitions_ahead()))


measure_storage = dg.define_asset_job(
    "measure_storage",
    selection=dg.AssetSelection.assets(storage_report),
    tags={"dagster/priority": str(HIGH)},
    description="Measures what takes room in the database and when the disk will be full.",
)

schedules = [
    schedule(
        "storage_every_hour",
        measure_storage,
        "47 * * * *",
        "Every hour: measures what takes room and says when the disk will be full.",
    ),
    schedule(
        "nightly_maintenance",
        maintenance,
        "15 1 * * *",
        "Every night: makes partitions ahead, renews statistics and removes old runs and events.",
    ),
]
