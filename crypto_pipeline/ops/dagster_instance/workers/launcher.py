"""Dagster's run launcher that hands runs to workers over Celery.

Dagster's own class believes a run alive for as long as its result says that it began: for ever, where the worker was
killed. Here a run lives while the worker that took it writes its heartbeat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import psycopg
from celery import Celery
from celery.exceptions import CeleryError
from dagster import DagsterRun, DagsterRunStatus, Field
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.execution.stats import StepEventStatus
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_STRATEGY_TAG
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from crypto_pipeline.ops.dagster_instance.lost_runs import LOSSES, TASK, WORKER, Worker
from crypto_pipeline.ops.dagster_instance.workers.configuration import CELERY, INGEST, RUNS
from crypto_pipeline.ops.dagster_instance.workers.liveness import Liveness
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database_url import resolve_url

if TYPE_CHECKING:
    from dagster._config import UserConfigSchema

log = logging.getLogger(__name__)

#: Seconds that a message may be under way between redis and the first line that its worker writes.
_UNDER_WAY = 10.0
#: Seconds for which redis is asked nothing once it did not answer: each question would wait for it.
_PAUSE = 5.0
#: Seconds for which Dagster's own monitoring leaves runs whose worker is gone to those who look each second, and who
#: besides end their leases (``report_lost``).
_LEFT_TO_WATCH = 20.0
#: Seconds between two looks at which workers live.
_LOOK_EVERY = 1.0
#: A run that was lost so often may be what ends its workers: from then on it counts as one that failed.
_MOST_LOSSES = 20


class WorkerRunLauncher(CeleryRunLauncher):
    """Hands each run to the first worker with a free slot; runs of live ingest to those that serve its queue."""

    def __init__(
        self,
        default_queue: str = RUNS,
        broker: str | None = None,
        backend: str | None = None,
        include: list[str] | None = None,
        config_source: dict[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(default_queue, broker, backend, include, CELERY | (config_source or {}), inst_data)
        self._liveness: Liveness | None = None
        #: Workers that lived at the last look.
        self._lived: frozenset[tuple[str, str]] = frozenset()
        #: Runs that nobody has begun and whose message is not in redis, and since when.
        self._without_message: dict[str, float] = {}
        #: Runs whose worker is gone, and since when.
        self._without_worker: dict[str, float] = {}
        self._ask_again = 0.0

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """As Dagster's class has it, but for the queue of runs that no tag sends elsewhere."""
        fields = {**cast("dict[str, Field]", super().config_type())}
        about = "Queue of runs that no tag sends elsewhere."
        return fields | {"default_queue": Field(str, is_required=False, default_value=RUNS, description=about)}

    @property
    def supports_resume_run(self) -> bool:
        """Never: a run that lost its worker fails, and Dagster asks for it again as a new one."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand the run over. A run that is asked for again has the tags of the one before, and no worker yet."""
        self._instance.add_run_tags(context.dagster_run.run_id, {WORKER: ""})
        super().launch_run(context)

    def _launch_celery_task_run(self, run: DagsterRun, task_signature: Any, routing_key: str) -> None:
        if "ingest" in run.tags and DAGSTER_CELERY_QUEUE_TAG not in run.tags:
            run = run.with_tags({**run.tags, DAGSTER_CELERY_QUEUE_TAG: INGEST})
        super()._launch_celery_task_run(run, task_signature, routing_key)

    def terminate(self, run_id: str) -> bool:
        """End a run: it is canceled, and not failed and asked for again."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or TASK not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        asked: bool = super().terminate(run_id)
        return asked

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether somebody works on the run: FAILED where its worker is gone, or where its message is lost."""
        if TASK not in run.tags or time.monotonic() < self._ask_again:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            return self._check(run)
        except (CeleryError, KombuError, RedisError, StoreError, OSError) as error:  # away: nobody can say
            self._ask_again = time.monotonic() + _PAUSE
            log.warning("cannot ask redis or the database for the run %s now: %s", run.run_id, error)
            return CheckRunHealthResult(WorkerStatus.RUNNING)

    def lost_with_worker(self, run: DagsterRun) -> str | None:
        """Why the worker of a run is gone; None where it lives, or where no worker began the run."""
        text = run.tags.get(WORKER) if TASK in run.tags else None
        return self._workers.trouble(Worker.parse(text)) if text else None

    def report_lost(self, run: DagsterRun, why: str) -> None:
        """Mark a run failed whose worker is gone, and let nothing keep its successor waiting.

        One that a person was ending is canceled, and has no successor.
        """
        try:
            self._workers.end_leases(run.run_id)
        except (StoreError, psycopg.Error) as error:  # they expire by themselves
            log.warning("cannot end the leases of the run %s: %s", run.run_id, error)
        if run.status is DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run, why)
            return
        losses = int(run.tags.get(LOSSES, "0")) + 1
        tags = {LOSSES: str(losses)}
        allowed = run.tags.get(MAX_RETRIES_TAG, str(self._instance.run_retries_max_retries))
        if losses <= _MOST_LOSSES and allowed.isdigit():
            tags[MAX_RETRIES_TAG] = str(int(allowed) + 1)
        if self._has_done_every_step(run):  # Dagster refuses to repeat what failed, where nothing did
            tags[RETRY_STRATEGY_TAG] = ReexecutionStrategy.ALL_STEPS.name
        self._instance.add_run_tags(run.run_id, tags)
        self._instance.report_run_failed(run, why)

    def _has_done_every_step(self, run: DagsterRun) -> bool:
        """Whether the worker was gone between the end of the last step and that of the run."""
        if run.execution_plan_snapshot_id is None:
            return False
        plan = self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
        steps = self._instance.get_run_step_stats(run.run_id)
        done = {step.step_key for step in steps if step.status is StepEventStatus.SUCCESS}
        return done.issuperset(plan.step_keys_to_execute)

    def await_loss(self, seconds: float) -> None:
        """Return when a worker is gone that lived at the end of the call before, or after ``seconds``."""
        until = time.monotonic() + seconds
        while True:
            living = self._living()
            gone, self._lived = self._lived - living, living
            if gone or (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(_LOOK_EVERY, left))

    def _living(self) -> frozenset[tuple[str, str]]:
        try:
            return self._workers.living()
        except (StoreError, psycopg.Error):
            return self._lived

    def _check(self, run: DagsterRun) -> CheckRunHealthResult:
        if not (text := run.tags.get(WORKER)):
            return self._check_message(run)
        worker = Worker.parse(text)
        if (trouble := self._workers.trouble(worker)) is not None:
            since = self._without_worker.setdefault(run.run_id, time.monotonic())
            if time.monotonic() - since < _LEFT_TO_WATCH:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            return CheckRunHealthResult(WorkerStatus.FAILED, trouble)
        if self.celery.AsyncResult(run.tags[TASK]).state in ("FAILURE", "REVOKED", "SUCCESS"):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"The process of this run ended on {worker.deployment}.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _check_message(self, run: DagsterRun) -> CheckRunHealthResult:
        """A run that no worker has begun: its message waits in redis, or is lost."""
        if any(
            run.tags[TASK].encode() in message
            for message in waiting_messages(self.celery, {self.default_queue, INGEST})
        ):
            self._without_message.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        since = self._without_message.setdefault(run.run_id, time.monotonic())
        fresh = self._instance.get_run_by_id(run.run_id)  # a worker may have begun it meanwhile
        if fresh is None or fresh.tags.get(WORKER) or fresh.is_finished:
            self._without_message.pop(run.run_id, None)
        elif time.monotonic() - since >= _UNDER_WAY:
            return CheckRunHealthResult(WorkerStatus.FAILED, "No worker began this run, and its message is lost.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def dispose(self) -> None:
        """Close the session over which workers are looked at."""
        if self._liveness is not None:
            self._liveness.close()

    @property
    def _workers(self) -> Liveness:
        if self._liveness is None:
            self._liveness = Liveness(resolve_url(load_settings()))
        return self._liveness


def waiting_messages(celery: Celery, queues: Iterable[str]) -> Iterator[bytes]:
    """Every message of ``queues`` that waits in redis, or that a worker took and did not begin yet."""
    with celery.connection_for_read() as connection:
        channel = connection.default_channel
        client = channel.client
        for queue in queues:
            for priority in channel.priority_steps:
                yield from client.lrange(channel._q_for_pri(queue, priority), 0, -1)
        yield from client.hvals(channel.unacked_key)
