"""Dagster's run launcher, which also tags each run with the deployment that started it."""

from __future__ import annotations

import os

from dagster import DefaultRunLauncher
from dagster._core.launcher import LaunchRunContext

from crypto_pipeline.ops.dagster_instance.lost_runs import LAUNCHED_BY, launched_by
from crypto_pipeline.ops.host.processes import DEPLOYMENT


class MarkingRunLauncher(DefaultRunLauncher):
    """Starts runs in the code server, as Dagster does.

    The process id in a run's log means something only on the machine, and in the boot, that the tag names.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Tag the run with this deployment, then start it."""
        run_id = context.dagster_run.run_id
        self._instance.add_run_tags(run_id, {LAUNCHED_BY: launched_by(os.environ.get(DEPLOYMENT, ""))})
        super().launch_run(context)
