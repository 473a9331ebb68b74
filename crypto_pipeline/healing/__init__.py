"""Making the stored bars complete and right: plan → fetch → write → explain, roll up, reconcile, verify.

Here belongs whatever brings a venue's answers and the store together: what is missing, what to ask for, what an absent
minute means, whether our bars agree with the venue's. Wire protocols (venues), SQL (store) and schedules (defs) do not
belong here, nor anything that knows of Dagster.
"""

from crypto_pipeline.healing.checks.stored_bars import verify
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import HealReport, ReconcileReport
from crypto_pipeline.market.checks import CheckOutcome

__all__ = ["CheckOutcome", "HealReport", "Horizon", "Pipeline", "ReconcileReport", "verify"]
