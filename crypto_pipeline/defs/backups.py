"""Backups as an asset: made every night while everything runs, read back, and missed when they do not come."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.jobs import LOW, tags
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.ops.backups import backup as room
from crypto_pipeline.ops.backups import files
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import resolve_url

GROUP = "operations"
OWNERS = ["team:market-data"]
#: Two nights and some hours without one are worth a word.
_TOO_OLD = timedelta(hours=54)


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"postgres"}, deps=["coverage"])
def backup(context: dg.AssetExecutionContext, database: Market) -> dg.MaterializeResult[None]:
    """A dump of one frozen moment, read back before it counts. `crypto-pipeline restore` brings one back."""
    settings = load_settings()
    with database.store() as store:
        stored = store.size_bytes()
    made = room.make(settings, resolve_url(settings), stored, context.log.info)
    kept = files.complete(room.backup_dir(settings))
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
def checks_backup(database: Market) -> Iterable[dg.AssetCheckResult]:
    """One that is right is there and is young."""
    settings = load_settings()
    folder = room.backup_dir(settings)
    found = files.complete(folder)
    kept = [one.manifest for one in found if one.manifest.right]
    if not room.nightly_backup(settings) and not kept:
        passed, said = True, "no nightly backup is wanted (CRYPTO_PIPELINE_BACKUP_DAILY)"
    elif not kept:
        passed, said = False, f"there is no backup that is right in {folder}"
    else:
        age = datetime.now(UTC) - kept[-1].created_at
        passed = age <= _TOO_OLD or not room.nightly_backup(settings)
        said = f"{len(kept)} kept; the newest is {timedelta(seconds=round(age.total_seconds()))} old"
    damage = room.damage(found[-1], folder) if found else None
    outcomes = [("is_recent", passed, "warning", said)]
    outcomes.append(("is_right", damage is None, "critical", damage or "the newest backup holds what is counted"))
    for name, fine, severity, summary in outcomes:
        with database.store() as store:
            store.checks.record_result(f"backup_{name}", None, passed=fine, severity=severity, summary=summary)
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key="backup",
            passed=fine,
            severity=dg.AssetCheckSeverity.WARN if severity == "warning" else dg.AssetCheckSeverity.ERROR,
            description=summary,
        )


make_backup = dg.define_asset_job(
    "make_backup",
    selection=dg.AssetSelection.assets(backup),
    tags=tags(LOW, "backup"),
    description="Backs up the database now, while everything runs.",
)


@dg.schedule(
    job=make_backup, cron_schedule="30 3 * * *", execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: backs up the database while everything runs.",
)  # fmt: skip
def nightly_backup(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """03:30 UTC, after the gap monitor and before the week's sweep."""
    if not room.nightly_backup(load_settings()):
        return dg.SkipReason("a database of your own: set CRYPTO_PIPELINE_BACKUP_DAILY to have backups made here")
    return dg.RunRequest(run_key=f"backup:{context.scheduled_execution_time:%Y-%m-%d}")


BACKUP_ASSETS = [backup]
BACKUP_CHECKS = [checks_backup]
BACKUP_JOBS = [make_backup]
BACKUP_SCHEDULES = [nightly_backup]
