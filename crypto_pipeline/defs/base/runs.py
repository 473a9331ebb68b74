"""Runs: priorities and tags, requests over ranges of days, and whether a job is running."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import wraps
from itertools import pairwise
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.partitions import range_tags
from crypto_pipeline.market.times import midnight

#: Higher runs first when the queue is full. Ingest stands above all others, the comparison with the venue below.
CRITICAL, HIGH, MEDIUM, LOW, LOWEST = 40, 30, 20, 10, 0
#: Seconds between two looks of a sensor that must be quick. Dagster goes round all sensors every 5 s. One that asks for
#: 5 is often a moment early, and waits for the next round.
SOON = 4
#: What the tag `processor` of a run says that no processor asked for.
BY_HAND = "backfill"
#: Statuses of runs that wait, start or work.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def tags(priority: int, processor: str | None = None) -> dict[str, str]:
    """Queue priority, and the processor's name to filter runs by."""
    return {"dagster/priority": str(priority)} | ({"processor": processor} if processor else {})


def schedule(name: str, job: Any, cron: str, description: str) -> dg.ScheduleDefinition:
    """A schedule in UTC that is on from the start and asks for a job as it is."""
    return dg.ScheduleDefinition(
        name=name, job=job, cron_schedule=cron, execution_timezone="UTC", description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )  # fmt: skip


def dated_schedule(name: str, job: Any, cron: str, run_key: str, description: str) -> dg.ScheduleDefinition:
    """As `schedule`, with one run for each ``run_key``: a format of the scheduled time, as `retention:%Y-%m-%d`."""

    @dg.schedule(
        name=name, job=job, cron_schedule=cron, execution_timezone="UTC", description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )  # fmt: skip
    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"{context.scheduled_execution_time:{run_key}}")

    return request


def unless_running(
    job: Any, cron: str, description: str, name: str | None = None
) -> Callable[[Callable[..., str | None]], dg.ScheduleDefinition]:
    """Make a schedule in UTC, on from the start, of a function that says why ``job`` is not wanted now (None: it is).

    One run at a time: while one is unfinished, the function is not asked. It has the context as its first argument, and
    resources after it. The schedule's name is ``name``, else the function's.
    """

    def make(why_not: Callable[..., str | None]) -> dg.ScheduleDefinition:
        @wraps(why_not)  # Dagster looks for resources among its arguments
        def request(context: dg.ScheduleEvaluationContext, **resources: Any) -> dg.RunRequest | dg.SkipReason:
            if is_running(context.instance, job.name):
                return dg.SkipReason(f"{job.name} is under way")
            why = why_not(context, **resources)
            if why is not None:
                return dg.SkipReason(why)
            return dg.RunRequest(run_key=f"{job.name}:{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")

        return dg.schedule(
            name=name, job=job, cron_schedule=cron, execution_timezone="UTC", description=description,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )(request)  # fmt: skip

    return make


def op_job(name: str, op: dg.OpDefinition, run_tags: Mapping[str, str], description: str) -> dg.JobDefinition:
    """A job of one op without inputs."""

    @dg.job(name=name, tags=dict(run_tags), description=description)
    def job() -> None:
        op()

    return job


def asset_job(name: str, assets: Sequence[Any], run_tags: Mapping[str, str], description: str, **more: Any) -> Any:
    """A job over ``assets``, given as definitions, keys or names."""
    chosen = dg.AssetSelection.assets(*assets)
    return dg.define_asset_job(name, selection=chosen, tags=run_tags, description=description, **more)


def sensor(**options: Any) -> Callable[[Any], dg.SensorDefinition]:
    """As `dg.sensor`, on from the start."""
    return dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, **options)


def by_person(run_tags: Mapping[str, str]) -> bool:
    """Whether a person launched the run: schedules, sensors and conditions say so in its tags, or in `processor`."""
    automatic = {"dagster/schedule_name", "dagster/sensor_name", "dagster/from_automation_condition"}
    return run_tags.get("processor", BY_HAND) == BY_HAND and not automatic & run_tags.keys()


def is_running(instance: dg.DagsterInstance, job: str | None = None, *, tags: Mapping[str, str] | None = None) -> bool:
    """Whether a run of ``job`` (any, where it is None) with these tags is unfinished."""
    chosen = dg.RunsFilter(job_name=job, statuses=UNFINISHED, tags=dict(tags or {}))
    return bool(instance.get_runs(chosen, limit=1))


def chosen_instruments_of(run: dg.DagsterRun) -> list[str]:
    """The instruments that a run over bars is limited to; empty: every active one."""
    resources: Any = run.run_config.get("resources", {})
    return resources.get("scope", {}).get("config", {}).get("instruments") or []


def run_over_days(run_key: str, first: date, last: date, run_tags: Mapping[str, str]) -> dg.RunRequest:
    """One run over the days from ``first`` to ``last``, both included."""
    span = range_tags(midnight(first), midnight(last) + timedelta(days=1))
    return dg.RunRequest(run_key=run_key, tags={**run_tags, **span})


def stretches(days: Collection[date], gap: timedelta) -> list[tuple[date, date]]:
    """First and last day of every stretch of ``days`` in which neighbours are at most ``gap`` apart, in order."""
    ordered = sorted(days)
    cuts = [0, *(place for place, (a, b) in enumerate(pairwise(ordered), 1) if b - a > gap), len(ordered)]
    return [(ordered[start], ordered[stop - 1]) for start, stop in pairwise(cuts) if stop > start]
