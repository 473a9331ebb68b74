"""What a worker executes: one run in one process, which ends with its worker."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

from celery import Celery
from celery.signals import worker_process_init
from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app

from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER, Worker
from crypto_pipeline.ops.dagster_instance.workers.configuration import CELERY, RUNS, row_name
from crypto_pipeline.ops.host.processes import Identity, die_with_parent


def worker_app(broker: str, name: str) -> Celery:
    """Celery's application of the worker ``name``; ``broker`` is the URL of redis."""
    app: Celery = cast(Any, make_app)(
        {"broker": broker, "backend": broker, "config_source": dict(CELERY), "task_default_queue": RUNS}
    )

    def execute_job(execute_job_args_packed: Any) -> int:
        given = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        return execute(given.run_id, name)

    app.task(name=TASK_EXECUTE_JOB_NAME, track_started=True)(execute_job)
    worker_process_init.connect(_end_with_worker, weak=False)
    return app


def execute(run_id: str, name: str) -> int:
    """Execute a run in this process, whose parent is the worker ``name``; 0 where the run succeeded."""
    worker = Identity.of(os.getppid())
    assert worker is not None, "a process whose worker is gone has ended"
    with DagsterInstance.get() as instance:
        instance.add_run_tags(run_id, {WORKER: str(Worker(row_name(name), worker))})
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:  # it came so late that it was told lost: its successor does the work
            return 0
        # The worker forks with signals as Celery wants them. A run that is ended notes that it was interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        setup_interrupt_handlers()
        return _execute_run_command_body(run_id, instance, _nothing, set_exit_code_on_failure=True)


def _nothing(_: object) -> None:
    """Nobody reads the events of the run but Dagster's storage."""


def _end_with_worker(**_: Any) -> None:
    """Let no run go on whose worker was killed: it is replaced by another one."""
    worker = os.getppid()
    die_with_parent(signal.SIGKILL)
    if worker != os.getppid() or worker == 1:
        os._exit(1)
