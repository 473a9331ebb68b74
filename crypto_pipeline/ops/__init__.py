"""Operation of a deployment: supervision, health, status, alerts, backups, housekeeping and reports.

Code that starts, watches, restarts and stops programs belongs here, and code that collects their state for people.
Commands and their output belong to ``cli``, Dagster's definitions to ``defs``, the repair of bars to ``healing``.
Modules that use Dagster import it inside functions, so that commands start quickly.
"""

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places, UpState, running_state

__all__ = ["OpsError", "Places", "UpState", "running_state"]
