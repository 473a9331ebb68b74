"""Backups as an asset: made every night while everything runs, read back, and checked for their age."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, tags
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.backups import backup as backups
from crypto_pipeline.ops.backups import files
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import resolve_url

#: An older backup means that two nights were missed.
_TOO_OLD = timedelta(hours=54)


@dg.asset(
    **OPERATIONS.arguments(),
    kinds={"postgres"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_TOO_OLD, warn_window=timedelta(hours=30)),
)
def backup(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """A dump of one frozen moment, read back before it counts. `crypto-pipeline restore` brings one back."""
    settings = load_settings()
    with database.store() as store:
        stored = store.size_bytes()
    made = backups.make(settings, resolve_url(settings), stored, context.log.info)
    kept = files.complete(files.backup_dir(settings))
    shown: dict[str, Any] = {
        "dagster/row_count": made.manifest.rows,
        "folder": dg.MetadataValue.path(str(made.folder)),
        "bytes": made.manifest.bytes,
        "archive_files": len(made.manifest.archive),
        "seconds": made.manifest.seconds,
        "kept": metadata.table(
            pl.DataFrame(
                {
                    "name": [one.folder.name for one in kept],
                    "rows": [one.manifest.rows for one in kept],
                    "bytes": [one.manifest.bytes for one in kept],
                    "right": [one.manifest.right for one in kept],
                }
            )
        ),
    }
    return dg.MaterializeResult(metadata=shown)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "is_recent", asset="backup", description=f"A backup that was right is younger than {_TOO_OLD}."
        ),
        dg.AssetCheckSpec(
            "is_right", asset="backup", description="The newest backup lacked nothing of what is counted elsewhere."
        ),
    ],
)
def checks_backup(database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
    """There is a backup that is right and young enough, and the newest one lacks nothing."""
    settings = load_settings()
    recent, age = _recent(settings)
    damage = _damage(settings)
    summaries = {
        "is_recent": (recent, "warning", age),
        "is_right": (damage is None, "critical", damage or "the newest backup holds what is counted"),
    }
    for name, (passed, severity, summary) in summaries.items():
        with database.store() as store:
            store.checks.record_result(f"backup_{name}", None, passed=passed, severity=severity, summary=summary)
        yield check_result(name, "backup", passed=passed, severity=severity, summary=summary)


def _recent(settings: Settings) -> tuple[bool, str]:
    """Whether a right backup is young enough, or none is due; and the reason in words."""
    folder, nightly = files.backup_dir(settings), files.nightly_backup(settings)
    right = [one.manifest for one in files.complete(folder) if one.manifest.right]
    if not right:
        if nightly:
            return False, f"there is no backup that is right in {folder}"
        return True, "no nightly backup is wanted (CRYPTO_PIPELINE_BACKUP_DAILY)"
    age = datetime.now(UTC) - right[-1].created_at
    text = f"{len(right)} kept; the newest is {timedelta(seconds=round(age.total_seconds()))} old"
    return age <= _TOO_OLD or not nightly, text


def _damage(settings: Settings) -> str | None:
    """What the newest backup lacks; None where it lacks nothing or there is none."""
    folder = files.backup_dir(settings)
    kept = files.complete(folder)
    return backups.damage(kept[-1], folder) if kept else None


make_backup = asset_job(
    "make_backup", [backup], tags(LOW, "backup"), "Backs up the database now, while everything runs."
)


@dg.schedule(
    job=make_backup, cron_schedule="30 3 * * *", execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: backs up the database while everything runs.",
)  # fmt: skip
def nightly_backup(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """03:30 UTC, after the gap monitor and before the week's sweep."""
    if not files.nightly_backup(load_settings()):
        return dg.SkipReason("a database of your own: set CRYPTO_PIPELINE_BACKUP_DAILY to have backups made here")
    return dg.RunRequest(run_key=f"backup:{context.scheduled_execution_time:%Y-%m-%d}")
