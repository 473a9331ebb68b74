"""Schedules and sensors: the processors that keep the database right without anyone watching."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from crypto_pipeline.defs.jobs import HIGH, LOW, MEDIUM, SOON, backfill_bars, reconcile, tags, weekly_bars
from crypto_pipeline.defs.live_gaps import UNFINISHED
from crypto_pipeline.defs.partitions import FIRST_DAY, range_tags
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.market.timeframes import Timeframe

ON = dg.DefaultScheduleStatus.RUNNING
_WATCH = dg.DefaultSensorStatus.RUNNING


def _days(
    context: dg.ScheduleEvaluationContext, processor: str, priority: int, first: datetime, last: datetime
) -> dg.RunRequest:
    """A run over days of the market; when it is asked for is a matter of this machine's clock."""
    at = context.scheduled_execution_time
    return dg.RunRequest(
        run_key=f"{processor}:{at:%Y-%m-%dT%H:%M}", tags={**tags(priority, processor), **range_tags(first, last)}
    )


def _market_now(database: Market) -> datetime:
    with database.store() as store:
        return store.clock.now()


@dg.schedule(
    job=backfill_bars,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=ON,
    description="Every 5 minutes: brings the bars of the running day up to date, until 01:00 UTC also the day before.",
)
def recent_processor(context: dg.ScheduleEvaluationContext, database: Market) -> dg.RunRequest:
    """Every 5 minutes: the running day (and the one before, until 01:00 UTC of the market), so that bars stay fresh."""
    now = _market_now(database)
    return _days(context, "recent_processor", HIGH, now - timedelta(hours=1), now)


@dg.schedule(
    job=backfill_bars,
    cron_schedule="30 */6 * * *",
    execution_timezone="UTC",
    default_status=ON,
    description="Every 6 hours: brings the bars of the last 7 days up to date and checks them.",
)
def historical_processor(context: dg.ScheduleEvaluationContext, database: Market) -> dg.RunRequest:
    """Every 6 hours at :30: the last 7 days brought to the desired state, roll-ups and checks included."""
    now = _market_now(database)
    return _days(context, "historical_processor", MEDIUM, now - timedelta(days=7), now)


@dg.schedule(
    job=backfill_bars,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=ON,
    description="Every night: asks for whatever is missing in history older than 7 days.",
)
def historical_gap_monitor(context: dg.ScheduleEvaluationContext, database: Market) -> dg.RunRequest:
    """Daily at 02:00 UTC: whatever is missing in history older than 7 days."""
    now = _market_now(database)
    return _days(context, "historical_gap_monitor", LOW, FIRST_DAY, now - timedelta(days=7))


@dg.schedule(
    job=reconcile,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=ON,
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


@dg.sensor(
    job=backfill_bars,
    minimum_interval_seconds=SOON,
    default_status=_WATCH,
    description="Asks for the whole history of an instrument that was just added.",
)
def new_instruments(context: dg.SensorEvaluationContext, database: Market) -> dg.SensorResult | dg.SkipReason:
    """An instrument that was just added is backfilled over all of history, in one run, without anyone asking.

    The cursor remembers which were asked for and when they had been added; a run that fails is made up for by the
    processors, which heal whatever is missing.
    """
    asked: dict[str, str] = json.loads(context.cursor or "{}")
    with database.store() as store:
        active = {row.instrument.symbol: row.added_at.isoformat() for row in store.instruments.list()}
        now = store.clock.now()
    fresh = sorted(symbol for symbol, added in active.items() if asked.get(symbol) != added)
    if not fresh:
        return dg.SkipReason("every active instrument has been asked for")
    request = dg.RunRequest(
        run_key=f"new:{fresh[0]}:{len(fresh)}:{max(active[symbol] for symbol in fresh)}",
        run_config={"resources": {"scope": {"config": {"instruments": [] if len(fresh) == len(active) else fresh}}}},
        tags={**tags(HIGH, "new_instruments"), **range_tags(FIRST_DAY, now)},
    )
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(active))


@dg.sensor(
    job=backfill_bars,
    minimum_interval_seconds=15,
    default_status=_WATCH,
    description="Forgets an instrument that was removed and never had a bar.",
)
def removed_instruments(context: dg.SensorEvaluationContext, database: Market) -> dg.RunRequest | dg.SkipReason:
    """An instrument that was removed and never had a bar is forgotten as soon as no run goes on that knew it.

    The running day is then looked at again, so that no check speaks of it any more.
    """
    with database.store() as store:
        empty = store.instruments.without_bars()
        if not empty:
            return dg.SkipReason("no instrument was removed that never had a bar")
        # The ingest run, which goes on for hours, looks at what is collected again and again.
        began = [
            record.create_timestamp
            for record in context.instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
            if record.dagster_run.job_name != "live_ingest"
        ]
        ready = [symbol for symbol, removed in empty.items() if all(run > removed for run in began)]
        if forgotten := store.instruments.forget(ready):
            store.views.refresh("instrument_summary")  # else it would name them until its schedule comes
        now = store.clock.now()
    if not forgotten:
        return dg.SkipReason(f"runs go on that knew {', '.join(empty)}")
    context.log.info(f"forgotten: {', '.join(forgotten)}")
    key = f"forgotten:{','.join(forgotten)}:{max(empty.values())}"
    return dg.RunRequest(run_key=key, tags={**tags(HIGH, "removed_instruments"), **range_tags(now, now)})


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[backfill_bars],
    request_job=weekly_bars,
    minimum_interval_seconds=SOON,
    default_status=_WATCH,
    description="Brings weekly bars up to date after a run of the days under them.",
)
def weeks_follow_days(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Weekly bars after the days under them; weeks and days are partitioned differently, so they are two runs."""
    run = context.dagster_run
    if run.tags.get("processor") == "recent_processor":
        return dg.SkipReason("a running day ends no week")
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
    last = run.tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return dg.SkipReason("the run had no partition")
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    end = datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1)
    return dg.RunRequest(
        run_key=f"weeks:{run.run_id}",
        run_config={"resources": run.run_config["resources"]} if "resources" in run.run_config else {},
        tags={**tags(MEDIUM, "weeks_follow_days"), **range_tags(start, end, Timeframe.W1)},
    )


@dg.run_failure_sensor(
    minimum_interval_seconds=15,
    default_status=_WATCH,
    description="Opens an alert for a run that failed.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """A failed run opens an alert, as a failed check does."""
    run = context.dagster_run
    with Market().store() as store:
        store.checks.raise_alert(
            f"run:{run.job_name}",
            "error",
            f"run {run.run_id} failed: {context.failure_event.message}",
            {"run_id": run.run_id, "tags": dict(run.tags)},
        )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    minimum_interval_seconds=15,
    default_status=_WATCH,
    description="Closes the alert of a job whose newest run succeeded.",
)
def recovered_runs(context: dg.RunStatusSensorContext) -> None:
    """A job that works again closes the alert of its failure."""
    with Market().store() as store:
        store.checks.resolve_alert(f"run:{context.dagster_run.job_name}")


SCHEDULES = [recent_processor, historical_processor, historical_gap_monitor, weekly_full_sweep]
SENSORS = [
    new_instruments,
    removed_instruments,
    weeks_follow_days,
    failed_runs,
    recovered_runs,
    dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        default_status=_WATCH,
        minimum_interval_seconds=60,
        description="Rolls bars up again, and renews what is made of them, after the data below has changed.",
        # counted with the processors: what follows a change may not take the slots of what is live
        run_tags=tags(LOW, "follow_changes"),
    ),
]
