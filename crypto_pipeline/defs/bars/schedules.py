"""The processors of a bar source: schedules that keep its bars right, and the weeks that follow their days."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs.bars.jobs import reconcile
from crypto_pipeline.defs.base.partitions import partitions, range_tags, run_days
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, LOW, MEDIUM, SOON, UNFINISHED, chosen_instruments_of, tags
from crypto_pipeline.healing.processors import live_processor_keeps_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

_WEEK = timedelta(days=7)
_RECENT, _RECENT_INTERVAL = "recent_processor", timedelta(minutes=5)
#: Where the running day is complete, the recent processor runs at every such minute only: a run costs as much processor
#: time as live ingest in some minutes.
_AT_REST = 15


@dataclass(frozen=True, slots=True)
class Processor:
    """A schedule over days of bars.

    Attributes:
        name: Of the schedule in Dagster.
        cron: When it runs, in UTC.
        priority: Of its runs in the queue.
        description: For the UI.
        days: Gives the first and last moment of the days from the market's now, all in UTC.
    """

    name: str
    cron: str
    priority: int
    description: str
    days: Callable[[datetime], tuple[datetime, datetime]]


PROCESSORS = [
    Processor(
        _RECENT, "*/5 * * * *", HIGH,
        "Every 5 minutes, every 15 while live ingest leaves nothing to do: brings the bars of the running day up to "
        "date.",
        lambda now: (now - timedelta(hours=1), now),
    ),
    Processor(
        "historical_processor", "30 */6 * * *", MEDIUM,
        "Every 6 hours: brings the bars of the last 7 days up to date and checks them.",
        lambda now: (now - _WEEK, now),
    ),
    Processor(
        "historical_gap_monitor", "0 2 * * *", LOW,
        "Every night: asks for whatever is missing in history older than 7 days.",
        lambda now: (partitions().first_day, now - _WEEK),
    ),
]  # fmt: skip


def processor_schedule(processor: Processor, name: str, job: Any) -> dg.ScheduleDefinition:
    """The schedule of ``processor`` called ``name``, which asks for one run of ``job`` over its days of the market."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=processor.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=processor.description,
    )
    def days_of_bars(context: dg.ScheduleEvaluationContext, database: MarketDatabase) -> dg.RunRequest | dg.SkipReason:
        if processor.name == _RECENT and _history_has_just_begun(context):
            return dg.SkipReason("a run that has just begun brings all of history up to date, this day too")
        at = context.scheduled_execution_time
        with database.store() as store:
            if processor.name == _RECENT and at.minute % _AT_REST and _day_is_complete(store):
                return dg.SkipReason(
                    "live ingest keeps the running day complete and no check of its bars fails: the next run is due "
                    f"within {_AT_REST} minutes"
                )
            first, last = processor.days(store.clock.now())
        return dg.RunRequest(
            run_key=f"{name}:{at:%Y-%m-%dT%H:%M}",
            tags={**tags(processor.priority, processor.name), **range_tags(first, last)},
        )

    return days_of_bars


def _day_is_complete(store: Store) -> bool:
    """Whether a run over the running day would find nothing to do and no failed check to look at again."""
    bars = pl.col("timeframe").is_in([str(timeframe) for timeframe in Timeframe])
    failed = store.checks.results().filter(~pl.col("passed") & bars)
    return failed.is_empty() and live_processor_keeps_up(store, load_settings())


def _history_has_just_begun(context: dg.ScheduleEvaluationContext) -> bool:
    """Whether the first backfill of every instrument began since the schedule's previous tick: it takes the day too."""
    chosen = dg.RunsFilter(
        tags={"processor": "new_instruments"}, statuses=UNFINISHED,
        created_after=context.scheduled_execution_time - _RECENT_INTERVAL,
    )  # fmt: skip
    return any(not chosen_instruments_of(run) for run in context.instance.get_runs(chosen))


@dg.schedule(
    job=reconcile,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday: reads the last two weeks again from the venue and compares them with what is stored.",
)
def weekly_full_sweep(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Sundays 04:00 UTC: the last two weeks read again from the venue and reconciled, because history is revised."""
    at = context.scheduled_execution_time
    return dg.RunRequest(
        run_key=f"sweep:{at:%Y-%m-%d}",
        run_config=dg.RunConfig(ops={"compare": {"config": {"days": 14, "reread": True}}}),
        tags=tags(LOW, "weekly_full_sweep"),
    )


def weeks_sensor(name: str, days: Any, weeks: Any) -> dg.SensorDefinition:
    """The sensor called ``name`` that asks for ``weeks`` after a run of the job ``days``: their partitions differ."""

    @dg.run_status_sensor(
        name=name,
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[days],
        request_job=weeks,
        minimum_interval_seconds=SOON,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Brings weekly bars up to date after a run of the days under them.",
    )
    def weeks_follow_days(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        return weeks_after(context.dagster_run)

    return weeks_follow_days


def weeks_after(run: dg.DagsterRun) -> dg.RunRequest | dg.SkipReason:
    """A run over the weeks that hold the days of ``run``, with the same instruments."""
    if run.tags.get("processor") == _RECENT:
        return dg.SkipReason("a running day ends no week")
    days = run_days(run.tags)
    if days is None:
        return dg.SkipReason("the run had no partition")
    first, last = days
    span = range_tags(midnight(first), midnight(last) + timedelta(days=1), Timeframe.W1)
    return dg.RunRequest(
        run_key=f"weeks:{run.run_id}",
        run_config={"resources": run.run_config["resources"]} if "resources" in run.run_config else {},
        tags={**tags(MEDIUM, "weeks_follow_days"), **span},
    )
