"""The live layer in Dagster: one long run that makes live bars, and the sensor that keeps it alive.

Live bars are made by one run that goes on for hours, not by a run for every minute: a run takes seconds to start. It
is judged by its heartbeat row and never by its status, which stays STARTED for ever when its host dies.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.jobs import CRITICAL
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.features.live import after_minute_with_features
from crypto_pipeline.ingest import run_ingest
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.heartbeats import Heartbeat

_WATCH = dg.DefaultSensorStatus.RUNNING
#: A heartbeat older than this belongs to a dead or stuck holder.
STALE = 20.0
#: A run that was asked for may take this long until its first heartbeat (seconds on an idle machine).
STARTING = 180.0


class Shard(dg.Config):
    """Which part of the instruments a run ingests."""

    shard: int = Field(default=0, ge=0)
    shards: int = Field(default=1, ge=1)


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
    # for hours, and by default every line would be an event in the database
    logging.getLogger("crypto_pipeline").setLevel(logging.WARNING)

    async def main() -> None:
        settings = load_settings()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # The lease is held in the name of the run, so that the supervisor can tell whose heartbeat it sees.
        why = await run_ingest(
            settings,
            config.shard,
            config.shards,
            stop,
            Summaries(context.log),
            after_minute_with_features(settings),
            holder=context.run_id,
        )
        context.log.info(f"shard {config.shard} of {config.shards}: {why}")

    asyncio.run(main())


@dg.job(
    tags={"dagster/priority": str(CRITICAL), "dagster/max_retries": "0"},
    description="Makes live bars from the venue's stream; the sensor `live_ingest_supervisor` keeps it alive.",
)
def live_ingest() -> None:
    """One shard of the live layer."""
    ingest()


@dg.sensor(
    job=live_ingest,
    minimum_interval_seconds=5,
    default_status=_WATCH,
    description="Keeps one ingest run per shard alive, judged by its heartbeat.",
)
def live_ingest_supervisor(context: dg.SensorEvaluationContext, database: Market) -> dg.SensorResult | dg.SkipReason:
    """Keep one `live_ingest` run per shard alive, judged by its heartbeat row."""
    settings = load_settings()
    if not settings.ingest:
        return dg.SkipReason("live ingest is switched off (CRYPTO_PIPELINE_INGEST)")
    shards = settings.ingest_shards
    with database.store() as store:
        beats = {shard: _beat(store, shard) for shard in range(shards)}
    requests, notes = [], []
    for shard, beat in beats.items():
        age = None if beat is None else beat.age
        ended = beat is not None and _has_ended(context.instance, beat)
        if beat is not None and not ended and beat.age < STALE and beat.detail.get("state") != "rotating":
            notes.append(f"shard {shard}: {beat.detail.get('state')}, heartbeat {beat.age:.0f} s ago")
        elif _is_starting(context.instance, shard, beat):
            notes.append(f"shard {shard}: starting")
        else:
            # One that is rotating goes on until the fresh run stands by: make before break.
            if age is None or age >= STALE:
                _report_failed(context, shard, age)
            requests.append(_request(shard, shards))
    if not requests:
        return dg.SkipReason("; ".join(notes))
    return dg.SensorResult(run_requests=requests)


def _has_ended(instance: dg.DagsterInstance, beat: Heartbeat) -> bool:
    """Whether the run that this heartbeat is of is over, by Dagster's own word: then nobody need wait for silence."""
    run = instance.get_run_by_id(beat.holder)
    return run is not None and run.is_finished


def _beat(store: Store, shard: int) -> Heartbeat | None:
    return store.heartbeats.get(f"ingest-{shard}")


def _runs(instance: dg.DagsterInstance, shard: int) -> list[dg.RunRecord]:
    unfinished = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
                  dg.DagsterRunStatus.STARTED]  # fmt: skip
    chosen = dg.RunsFilter(job_name="live_ingest", statuses=unfinished, tags={"shard": str(shard)})
    return list(instance.get_run_records(chosen))


def _is_starting(instance: dg.DagsterInstance, shard: int, beat: Heartbeat | None) -> bool:
    """A run asked for a moment ago that has not come to its first heartbeat; one that has and is silent is dead."""
    young = datetime.now(UTC) - timedelta(seconds=STARTING)
    silent = beat.holder if beat is not None else None
    return any(
        record.create_timestamp > young and record.dagster_run.run_id != silent for record in _runs(instance, shard)
    )


def _report_failed(context: dg.SensorEvaluationContext, shard: int, age: float | None) -> None:
    for record in _runs(context.instance, shard):
        said = "no heartbeat ever" if age is None else f"last heartbeat {age:.0f} s ago"
        context.instance.report_run_failed(record.dagster_run, f"live_ingest shard {shard} is dead: {said}")


def _request(shard: int, shards: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"ingest:{shard}:{int(time.time())}",
        run_config=dg.RunConfig(ops={"ingest": Shard(shard=shard, shards=shards)}),
        tags={"shard": str(shard), "dagster/priority": str(CRITICAL)},
    )


LIVE_JOBS = [live_ingest]
LIVE_SENSORS = [live_ingest_supervisor]
