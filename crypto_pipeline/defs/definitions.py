"""All definitions, assembled in one place."""

from __future__ import annotations

import dagster as dg

from crypto_pipeline.defs.automation import SCHEDULES, SENSORS
from crypto_pipeline.defs.backups import BACKUP_ASSETS, BACKUP_CHECKS, BACKUP_JOBS, BACKUP_SCHEDULES
from crypto_pipeline.defs.bars import ASSETS
from crypto_pipeline.defs.checks import BAR_CHECKS
from crypto_pipeline.defs.comparison import COMPARISON_JOBS, COMPARISON_SENSORS
from crypto_pipeline.defs.features import FEATURE_ASSETS, FEATURE_CHECKS, FEATURE_JOBS, FEATURE_SENSORS
from crypto_pipeline.defs.freshness import FRESHNESS_SENSORS
from crypto_pipeline.defs.jobs import JOBS
from crypto_pipeline.defs.labels import LABEL_ASSETS, LABEL_CHECKS, LABEL_JOBS, LABEL_SENSORS
from crypto_pipeline.defs.live import LIVE_JOBS, LIVE_SENSORS
from crypto_pipeline.defs.live_gaps import GAP_JOBS, GAP_SENSORS
from crypto_pipeline.defs.proofs import PROOF_CHECKS, PROOF_JOBS, PROOF_SCHEDULES
from crypto_pipeline.defs.resources import Market, Scope
from crypto_pipeline.defs.retention import RETENTION_ASSETS, RETENTION_JOBS, RETENTION_SCHEDULES
from crypto_pipeline.defs.run_queue import QUEUE_SENSORS
from crypto_pipeline.defs.storage import STORAGE_ASSETS, STORAGE_JOBS, STORAGE_SCHEDULES
from crypto_pipeline.defs.views import VIEW_ASSETS, VIEW_CHECKS, VIEW_JOBS, VIEW_SCHEDULES

defs = dg.Definitions(
    assets=[*ASSETS, *VIEW_ASSETS, *BACKUP_ASSETS, *STORAGE_ASSETS, *RETENTION_ASSETS, *FEATURE_ASSETS, *LABEL_ASSETS],
    asset_checks=[*BAR_CHECKS, *VIEW_CHECKS, *BACKUP_CHECKS, *PROOF_CHECKS, *FEATURE_CHECKS, *LABEL_CHECKS],
    jobs=[
        *JOBS,
        *LIVE_JOBS,
        *GAP_JOBS,
        *COMPARISON_JOBS,
        *VIEW_JOBS,
        *BACKUP_JOBS,
        *PROOF_JOBS,
        *STORAGE_JOBS,
        *RETENTION_JOBS,
        *FEATURE_JOBS,
        *LABEL_JOBS,
    ],
    schedules=[
        *SCHEDULES,
        *VIEW_SCHEDULES,
        *BACKUP_SCHEDULES,
        *PROOF_SCHEDULES,
        *STORAGE_SCHEDULES,
        *RETENTION_SCHEDULES,
    ],
    sensors=[
        *SENSORS,
        *LIVE_SENSORS,
        *GAP_SENSORS,
        *COMPARISON_SENSORS,
        *FRESHNESS_SENSORS,
        *QUEUE_SENSORS,
        *FEATURE_SENSORS,
        *LABEL_SENSORS,
    ],
    resources={"database": Market(), "scope": Scope()},
    # A step is a function call on a shared database: a process for each would cost more than the work.
    executor=dg.in_process_executor,
)
