"""Alerts of runs: a failed run opens one, the next run of the job that succeeds closes it."""

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.settings import load_settings

_ON = dg.DefaultSensorStatus.RUNNING


@dg.run_failure_sensor(
    minimum_interval_seconds=15,
    default_status=_ON,
    description="Opens an alert for a run that failed.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """A failed run opens an alert, as a failed check does; one that ended with an earlier `up` does not."""
    run = context.dagster_run
    if ended_with_earlier_up(context):
        context.log.info(f"run {run.run_id} ended with the deployment that it began in: Dagster asks for it again")
        return
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


def ended_with_earlier_up(context: dg.RunFailureSensorContext) -> bool:
    """Whether the run was interrupted, or lost its process, and began before this `crypto-pipeline up` did.

    `down` interrupts the runs that are going on. They count as failed, because Dagster retries only failed runs.
    """
    data = context.failure_event.event_specific_data
    reason = data.failure_reason if isinstance(data, JobFailureData) else None
    if reason not in (None, RunFailureReason.UNEXPECTED_TERMINATION):
        return False
    up = running_state(Places(load_settings().data_dir))
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    return bool(up and record and record.start_time and record.start_time < up.started_at)
