"""Alerts of runs: a failed run opens one, the next run of the job that succeeds closes it."""

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase

_ON = dg.DefaultSensorStatus.RUNNING


@dg.run_failure_sensor(
    minimum_interval_seconds=15,
    default_status=_ON,
    description="Opens an alert for a run that failed.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """A failed run opens an alert, as a failed check does."""
    run = context.dagster_run
    with MarketDatabase().store() as store:
        store.checks.raise_alert(
            f"run:{run.job_name}",
            "error",
            f"run {run.run_id} failed: {context.failure_event.message}",
            {"run_id": run.run_id, "tags": dict(run.tags)},
        )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    minimum_interval_seconds=15,
    default_status=_ON,
    description="Closes the alert of a job whose newest run succeeded.",
)
def recovered_runs(context: dg.RunStatusSensorContext) -> None:
    """A job that works again closes the alert of its failure."""
    with MarketDatabase().store() as store:
        store.checks.resolve_alert(f"run:{context.dagster_run.job_name}")
