"""The run of Dagster that shows an ingest which is a program of its own: a real run, executed beside it.

The run ends and begins again every few hours, so that its event log stays bounded; ingest goes on meanwhile. A run that
somebody marks as over while ingest lives is replaced by a fresh one; terminating the run ends the process, and the
supervisor starts another.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin

from crypto_pipeline.defs.base.runs import UNFINISHED
from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER, Worker
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import DEPLOYMENT
from crypto_pipeline.ops.supervision.ingest_process import IngestProcess
from crypto_pipeline.ops.supervision.programs import CODE_SERVER, LOCATION
from crypto_pipeline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

log = logging.getLogger(__name__)

JOB = "live_ingest"
#: Statuses of a run that is not over.
_GOING_ON = [*UNFINISHED, dg.DagsterRunStatus.CANCELING]
_LOOK_EVERY = 2.0
_LONGEST_PAUSE = 60.0


class RunIsOver(Exception):  # noqa: N818  (reads as the fact it states)
    """Somebody marked the run as over while its ingest lives."""


def follow(
    context: dg.OpExecutionContext, here: IngestProcess, summaries: Callable[[Mapping[str, Any]], None], hours: float
) -> None:
    """Follow ingest until it ends, for ``hours``, or until the run is over by Dagster's word."""
    # Python's own logging would write each line into the database in the thread that ingests.
    context.log.end_python_log_capture()
    until = time.monotonic() + hours * 3600
    here.sink = summaries
    try:
        context.log.info(f"{here.shard.name} is ingested by process {here.worker}")
        while not here.ended.wait(_LOOK_EVERY):
            write_lines(context.log, here.lines)
            status = _status(context)
            if status is dg.DagsterRunStatus.CANCELING:
                here.stop()
                raise DagsterExecutionInterruptedError
            if status is None or status not in _GOING_ON:
                raise RunIsOver(f"the run was marked {status.value if status else 'deleted'} while its ingest lives")
            if time.monotonic() > until:
                context.log.info("ingest goes on in a fresh run")
                return
        context.log.info("ingest was stopped")
    finally:
        here.sink = None


def write_lines(log: dg.DagsterLogManager, lines: queue.Queue[logging.LogRecord]) -> None:
    """Write the records that wait into the run's log, which is in the database."""
    while not lines.empty():
        record = lines.get_nowait()
        log.log(record.levelno, f"{record.name}: {record.getMessage()}")


def _status(context: dg.OpExecutionContext) -> dg.DagsterRunStatus | None:
    run = context.instance.get_run_by_id(context.run_id)
    return None if run is None else run.status


def keep_run(here: IngestProcess, job: dg.JobDefinition) -> None:
    """Show ``here`` as runs of ``job`` in Dagster, one after the other, until it ends."""
    pause = 1.0
    while not here.ended.is_set():
        try:
            with dg.DagsterInstance.get() as instance:
                end_earlier(instance, here)
                run = show(instance, job, here)
            pause = 1.0
        except Exception as error:  # the database may be away; ingest does not depend on its run
            log.warning("the run in Dagster cannot be kept now: %s", error)
            here.ended.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            continue
        if run.status is dg.DagsterRunStatus.FAILURE and not here.ended.is_set():
            log.warning("run %s is over while ingest lives: handing over to who stands by, or going on", run.run_id)
            here.give_way()


def show(instance: dg.DagsterInstance, job: dg.JobDefinition, here: IngestProcess) -> dg.DagsterRun:
    """One run from its start to its end; returns it as it is then."""
    shard, places = here.shard, Places(load_settings().data_dir)
    chosen = {"shard": shard.number, "shards": shard.count, "venue": shard.venue}
    server = GrpcServerCodeLocationOrigin(
        host="localhost", socket=str(places.socket(CODE_SERVER)), location_name=LOCATION
    )
    run = instance.create_run_for_job(
        job,
        run_config={"ops": {"ingest": {"config": chosen}}},
        tags={**job.tags, "shard": shard.label, WORKER: str(worker(here))},
        remote_job_origin=RemoteRepositoryOrigin(server, "__repository__").get_job_origin(JOB),
    )
    execute_run(InMemoryJob(job), run, instance)
    found = instance.get_run_by_id(run.run_id)
    return found if found is not None else run


def worker(here: IngestProcess) -> Worker:
    """Who works on the runs of ``here``."""
    return Worker(os.environ.get(DEPLOYMENT, ""), here.worker)


def end_earlier(instance: dg.DagsterInstance, here: IngestProcess) -> None:
    """Report the runs that earlier processes of this deployment left unfinished: one process shows one run."""
    chosen = dg.RunsFilter(job_name=JOB, statuses=_GOING_ON, tags={"shard": here.shard.label})
    ours = worker(here)
    for run in instance.get_runs(chosen):
        text = run.tags.get(WORKER)
        if not text or Worker.parse(text).deployment != ours.deployment:
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run)
        else:
            instance.report_run_failed(run, f"ingest goes on in process {here.worker}, in a fresh run")
