"""The live layer in Dagster: one long run that makes live bars, and the sensor that keeps it alive.

Live bars are made by one run that goes on for hours, not by a run for every minute: a run takes seconds to start. It
is judged by its heartbeat row and never by its status, which stays STARTED for ever when its host dies. Under
`crypto-pipeline up` the program of each shard is supervised by itself and only shown as a run; elsewhere, and with the
setting `ingest_by_runs`, the sensor asks for the runs.
"""

import asyncio
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG
from pydantic import Field

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import CRITICAL, SOON, UNFINISHED, sensor
from crypto_pipeline.defs.live import ingest_run
from crypto_pipeline.defs.live.heartbeats import observations
from crypto_pipeline.ingest import Duty, IngestShard, ingest_shard, ingest_shards, run_ingest, shards_with_instruments
from crypto_pipeline.ops.dagster_instance.idle_sensors import CHANGES, INGEST, RUNS
from crypto_pipeline.ops.host.processes import MARK
from crypto_pipeline.ops.supervision.ingest_process import LineQueueHandler, ingest_here
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store.coordination.heartbeats import Heartbeat
from crypto_pipeline.trading.stored.live import after_minute_with_trading

#: A heartbeat older than this belongs to a dead or stuck holder.
STALE = 20.0
#: A run that was asked for may take this long until its first heartbeat (seconds on an idle machine).
STARTING = 180.0
#: How often a run looks whether it is over, seconds.
_OWN_RUN_EVERY = 5.0
#: Log lines that wait for the run's log; more are dropped from there, as memory has a bound.
_MOST_LINES = 500


class Shard(dg.Config):
    """Which part of the instruments of a venue a run ingests."""

    shard: int = Field(default=0, ge=0)
    shards: int = Field(default=1, ge=1)
    venue: str | None = Field(default=None, description="Default: the first venue of the deployment.")

    def of(self, settings: Settings) -> IngestShard:
        """The shard of a deployment with these settings."""
        return ingest_shard(settings, self.shard, self.shards, self.venue)


class Summaries:
    """A line in the run's log every ten minutes: a run that goes on for hours must not fill the event log."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log, self._next = log, 0.0

    def __call__(self, said: Mapping[str, Any]) -> None:
        """Take the figures of one minute."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 600
            self._log.info(
                f"{said['state']} on {said['venue']}: {said['instruments']} instruments over {said['links']} links; "
                f"trades stored {said['stored']:,}, waiting {said['waiting']:,}; ms to a price {said['lag_ms']}, to a "
                f"settled bar {said['bar_lag_ms']}; cuts {said['link_cuts']}, id jumps {said['jumps']}, asks by REST "
                f"{said['ask_filled']} (waiting {said['asks']}), trades healed {said['restated']}"
            )


@dg.op(description="Turn the venue's stream into bars until told to stop, or until it is time for a fresh run.")
def ingest(context: dg.OpExecutionContext, config: Shard) -> None:
    """Hold the lease of one shard; SIGTERM stops it cleanly with its buffer flushed."""
    settings = load_settings()
    shard = config.of(settings)
    if (here := ingest_here(shard.label)) is not None:
        ingest_run.follow(context, here, Summaries(context.log), settings.ingest_rotate_hours)
        return
    # Python's own logging would write each line into the database in the thread that ingests.
    context.log.end_python_log_capture()
    logger, lines = logging.getLogger("crypto_pipeline"), queue.Queue[logging.LogRecord](_MOST_LINES)
    logger.setLevel(logging.WARNING)
    handler = LineQueueHandler(lines)
    logger.addHandler(handler)
    duty = Duty()

    ended = threading.Event()
    watch = threading.Thread(target=_watch_own_run, args=[context, duty, ended, lines], daemon=True)
    watch.start()
    try:
        asyncio.run(_ingest_until_stopped(context, shard, settings.at(shard.venue, first=shard.first), duty))
    finally:
        ended.set()
        watch.join(5)
        logger.removeHandler(handler)


async def _ingest_until_stopped(
    context: dg.OpExecutionContext, shard: IngestShard, settings: Settings, duty: Duty
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # The lease is held in the name of the run, so that the supervisor can tell whose heartbeat it sees.
    why = await run_ingest(
        settings,
        shard.number,
        shard.count,
        stop,
        Summaries(context.log),
        after_minute_with_trading(settings),
        holder=context.run_id,
        duty=duty,
        name=shard.name,
    )
    context.log.info(f"{shard.name}: {why}")
    if duty.over.is_set():
        raise ingest_run.RunIsOver("the run was marked as over while it ingested: another one took over")


def _watch_own_run(
    context: dg.OpExecutionContext, duty: Duty, ended: threading.Event, lines: queue.Queue[logging.LogRecord]
) -> None:
    """Write the log lines of ingest into the run, and have ingest hand over once Dagster says that the run is over."""
    while not ended.wait(_OWN_RUN_EVERY):
        try:
            ingest_run.write_lines(context.log, lines)
            run = context.instance.get_run_by_id(context.run_id)
        except Exception as error:  # the database may be away for a moment
            logging.getLogger(__name__).warning("cannot look at the run %s now: %s", context.run_id, error)
            continue
        if run is None or run.is_finished:
            duty.over.set()


@dg.job(
    tags={"dagster/priority": str(CRITICAL), "dagster/max_retries": "0", "ingest": "live"},
    description="Makes live bars from the venue's stream; `crypto-pipeline up` keeps it alive, elsewhere the sensor "
    "`live_ingest_supervisor`.",
)
def live_ingest() -> None:
    """One shard of the live layer."""
    ingest()


@sensor(
    job=live_ingest,
    minimum_interval_seconds=SOON,
    tags={CHANGES: f"{RUNS} {INGEST}"},
    description="Keeps one ingest run per shard alive, judged by its heartbeat.",
)
def live_ingest_supervisor(
    context: dg.SensorEvaluationContext, database: MarketDatabase
) -> dg.SensorResult | dg.SkipReason:
    """Keep one `live_ingest` run per shard alive, judged by its heartbeat row; observe trades and live prices."""
    settings = load_settings()
    if not (settings.ingest and ingest_shards(settings)):
        return dg.SkipReason("live ingest is switched off (CRYPTO_PIPELINE_INGEST), or no venue has a stream")
    with database.store() as store:
        shards = {shard.label: shard for shard in shards_with_instruments(settings, store)}
        beats = {label: store.heartbeats.get(shard.name) for label, shard in shards.items()}
        waiting = {row.name: row.waiting for row in store.leases.rows()}
        if all(beat is not None and beat.age < STALE and beat.detail.get("state") == "live" for beat in beats.values()):
            # Its runs go on for hours: nobody should have to wait for the success of one to read that all is well.
            store.checks.resolve_alert(f"run:{ingest_run.JOB}")
    events, cursor = observations(beats, context.cursor, datetime.now(UTC))
    if MARK in os.environ and not settings.ingest_by_runs:
        states = "; ".join(_state(label, beat) for label, beat in beats.items())
        reason = f"`crypto-pipeline up` keeps the ingest programs alive: {states}"
        return dg.SensorResult(skip_reason=reason, asset_events=events, cursor=cursor)
    requests, notes = _requests(context, shards, beats, waiting)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "; ".join(notes),
        asset_events=events,
        cursor=cursor,
    )


def _requests(
    context: dg.SensorEvaluationContext,
    shards: Mapping[str, IngestShard],
    beats: Mapping[str, Heartbeat | None],
    waiting: Mapping[str, str | None],
) -> tuple[list[dg.RunRequest], list[str]]:
    """Runs for the shards that need one, and the state of the others in words."""
    requests, notes = [], []
    for label, beat in beats.items():
        stand_by = waiting.get(shards[label].name)
        if not _needs_run(context, beat):
            notes.append(_state(label, beat))
        elif stand_by is not None:
            notes.append(f"shard {label}: {stand_by} stands by")
        elif coming := _coming(context.instance, label, beat):
            notes.append(f"shard {label}: {coming}")
        else:
            # One that is rotating goes on until the fresh run stands by: make before break.
            if beat is None or beat.age >= STALE:
                _report_failed(context, label, beat)
            requests.append(_request(shards[label]))
    return requests, notes


def _needs_run(context: dg.SensorEvaluationContext, beat: Heartbeat | None) -> bool:
    """Whether the holder of a shard is absent, silent, about to end, or over by Dagster's record."""
    if beat is None or beat.age >= STALE or beat.detail.get("state") == "rotating":
        return True
    run = context.instance.get_run_by_id(beat.holder)
    # One that lost its worker is repeated by Dagster.
    return run is not None and run.is_finished and run.tags.get(WILL_RETRY_TAG) != "true"


def _state(label: str, beat: Heartbeat | None) -> str:
    if beat is None:
        return f"shard {label}: no heartbeat yet"
    return f"shard {label}: {beat.detail.get('state')}, heartbeat {beat.age:.0f} s ago"


def _runs(instance: dg.DagsterInstance, label: str) -> list[dg.RunRecord]:
    chosen = dg.RunsFilter(job_name=ingest_run.JOB, statuses=UNFINISHED, tags={"shard": label})
    return list(instance.get_run_records(chosen))


def _coming(instance: dg.DagsterInstance, label: str, beat: Heartbeat | None) -> str | None:
    """A run that waits or starts, however long, or started a moment ago; one that is silent is dead."""
    young = datetime.now(UTC) - timedelta(seconds=STARTING)
    silent = beat.holder if beat is not None else None
    for record in _runs(instance, label):
        run = record.dagster_run
        if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING):
            return f"run {run.run_id} is {run.status.value.lower()}"  # how long that may take, Dagster watches itself
        if run.run_id != silent and _begun(record) > young:
            return f"run {run.run_id} is starting"
    return None


def _begun(record: dg.RunRecord) -> datetime:
    """When it left the queue, as far as Dagster says; what waited there for long has only just begun."""
    started = record.start_time
    return record.update_timestamp if started is None else datetime.fromtimestamp(started, UTC)


def _report_failed(context: dg.SensorEvaluationContext, label: str, beat: Heartbeat | None) -> None:
    for record in _runs(context.instance, label):
        last_beat = "no heartbeat ever" if beat is None else f"last heartbeat {beat.age:.0f} s ago"
        context.instance.report_run_failed(record.dagster_run, f"live_ingest shard {label} is dead: {last_beat}")


def _request(shard: IngestShard) -> dg.RunRequest:
    config = Shard(shard=shard.number, shards=shard.count, venue=shard.venue)
    return dg.RunRequest(
        run_key=f"ingest:{shard.label}:{int(time.time())}",
        run_config=dg.RunConfig(ops={"ingest": config}),
        tags={"shard": shard.label, "dagster/priority": str(CRITICAL), "ingest": "live"},
    )
