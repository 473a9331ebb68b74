"""Keeping a deployment alive and saying how it is: supervision, health, status, alerts and reports.

Here belongs what starts, watches, restarts and stops programs, and what gathers their state for people. What a person
types and sees (cli), what Dagster runs (defs) and how bars are made right (healing) do not belong here. Modules that
touch Dagster import it inside functions, so that commands stay quick.
"""

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places, UpState, running_state

__all__ = ["OpsError", "Places", "UpState", "running_state"]
