"""Making the stored bars complete and right: plan → fetch → write → explain, roll up, reconcile, verify.

This room brings a venue's answers and the store together: which bars are missing, what to ask the venue for, why a
minute is absent, whether our bars agree with the venue's. Wire protocols belong to ``venues``, SQL to ``store`` and
schedules to ``defs``; nothing here knows Dagster.
"""

from crypto_pipeline.healing.checks.stored_bars import verify
from crypto_pipeline.healing.deployment import Deployment
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import HealReport, ReconcileReport
from crypto_pipeline.market.checks import CheckOutcome

__all__ = ["CheckOutcome", "Deployment", "HealReport", "Horizon", "Pipeline", "ReconcileReport", "verify"]
