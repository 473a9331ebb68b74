"""The Iceberg tables as an asset, with its check: they follow mirror and archive within minutes."""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, tags, unless_running
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.housekeeping import iceberg
from crypto_pipeline.settings import load_settings

#: Hour (UTC) of the run that looks after the tables although no file changed.
_DAILY_HOUR = 4


@dg.asset(
    **OPERATIONS.arguments("iceberg"),
    kinds={"postgres", "iceberg", "parquet"},
    deps=["bar_archive", "bar_mirror"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=54), warn_window=timedelta(hours=30)),
    check_specs=[
        dg.AssetCheckSpec(
            iceberg.CHECK,
            asset="iceberg_tables",
            description="The Iceberg tables list every file that mirror and archive have, and no other.",
        )
    ],
)
def iceberg_tables(
    context: dg.AssetExecutionContext, database: MarketDatabase
) -> Iterable[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
    """Tables of mirror and archive for any engine that reads Iceberg, over the same files, which are never rewritten.

    Each follows by one commit, which readers see as a whole or not at all. Snapshots expire, and what describes them
    goes with them; files that a snapshot lists stay. With the setting iceberg off, or without the extra iceberg, there
    are none.
    """
    settings = load_settings()
    with database.store() as store:
        if not settings.iceberg and iceberg.is_installed():
            iceberg.open_iceberg(store, settings).drop()
        if not settings.iceberg or not iceberg.is_installed():
            why = "not installed: crypto-pipeline[iceberg]" if settings.iceberg else "turned off by the setting iceberg"
            yield dg.MaterializeResult(metadata={"tables": 0, "why": why})
            yield check_result(iceberg.CHECK, "iceberg_tables", passed=True, severity="warning", summary=why)
            return
        done = iceberg.open_iceberg(store, settings).follow(progress=context.log.info)
        passed, summary = iceberg.record_check(store, done, iceberg.to_do(store, settings))
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(one.rows for one in done),
            "files": sum(one.files for one in done),
            "files_added": sum(one.added for one in done),
            "files_removed": sum(one.removed for one in done),
            "rows_waiting": sum(one.waiting_rows for one in done),
            "snapshots_expired": sum(one.expired for one in done),
            "metadata_files_removed": sum(one.swept for one in done),
            "tables": metadata.table(iceberg.tables_frame(done)),
        }
    )
    yield check_result(iceberg.CHECK, "iceberg_tables", passed=passed, severity="warning", summary=summary)


follow_iceberg = asset_job(
    "follow_iceberg",
    [iceberg_tables],
    tags(LOW),
    "Lets the Iceberg tables list the files that mirror and archive have now.",
)


@unless_running(
    follow_iceberg,
    "8-58/10 * * * *",
    "Every 10 minutes: lets Iceberg tables list the files of mirror and archive where some changed.",
)
def iceberg_every_ten_minutes(context: dg.ScheduleEvaluationContext, database: MarketDatabase) -> str | None:
    """Ask for a run where a file came or went, an old one is to be let go, or once a day."""
    at, settings = context.scheduled_execution_time, load_settings()
    with database.store() as store:
        files = iceberg.to_do(store, settings) if settings.iceberg else iceberg.recorded(store)
    installed = iceberg.is_installed()
    if (files and installed) or (at.hour == _DAILY_HOUR and at.minute < 10):
        return None
    if not installed:
        return "the extra iceberg is not installed"
    return "the tables list what mirror and archive have" if settings.iceberg else "iceberg is off"
