"""Sensors over bars: instruments that were added or removed, and assets that follow changed data."""

import json

import dagster as dg

from crypto_pipeline.defs.bars.jobs import BACKFILL
from crypto_pipeline.defs.base.partitions import partitions, range_tags
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import BY_HAND, HIGH, LOW, SOON, UNFINISHED, is_running, sensor, tags
from crypto_pipeline.healing.unasked import untouched_history
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.dagster_instance.idle_sensors import CHANGES, INSTRUMENTS, RUNS
from crypto_pipeline.settings import load_settings

#: The same days are asked for again once in this time, where the run before did not come to them.
_AGAIN = Timeframe.M15

# Counted with the processors: what follows a change may not take the slots of what is live.
follow_changes = dg.AutomationConditionSensorDefinition(
    "follow_changes",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Rolls bars up again, and renews what is made of them, after the data below has changed.",
    run_tags=tags(LOW, "follow_changes"),
)


@sensor(
    job_name=BACKFILL,
    minimum_interval_seconds=SOON,
    tags={CHANGES: INSTRUMENTS},
    description="Asks for the whole history of an instrument that was just added, and for days that nothing asked for.",
)
def new_instruments(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult | dg.SkipReason:
    """An instrument that was just added is backfilled over all of history, in one run, without anyone asking.

    The cursor remembers which were asked for and when they had been added. Days that nothing has asked for are
    requested too, unless a run that a person or this sensor asked for goes on: a longer history is expected (setting
    `days`), or a run ended before it came to them.
    """
    asked: dict[str, str] = json.loads(context.cursor or "{}")
    with database.store() as store:
        active = {row.instrument.symbol: row.added_at.isoformat() for row in store.instruments.list()}
        now = store.clock.now()
        added = sorted(symbol for symbol, since in active.items() if asked.get(symbol) != since)
        untouched = {} if _fills_history(context.instance) else untouched_history(store, load_settings())
    if not added and not untouched:
        return dg.SkipReason("every active instrument has been asked for")
    chosen = sorted({*added, *untouched})
    key = (
        f"new:{added[0]}:{len(added)}:{max(active[symbol] for symbol in added)}"
        if added
        else (f"untouched:{chosen[0]}:{len(chosen)}:{min(untouched.values())}:{_AGAIN.floor(now):%Y-%m-%dT%H:%M}")
    )
    request = dg.RunRequest(
        run_key=key,
        run_config={"resources": {"scope": {"config": {"instruments": [] if len(chosen) == len(active) else chosen}}}},
        tags={**tags(HIGH, "new_instruments"), **range_tags(partitions().first_day, now)},
    )
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(active))


def _fills_history(instance: dg.DagsterInstance) -> bool:
    """Whether a run brings days up to date that a person or ``new_instruments`` asked for."""
    return any(is_running(instance, BACKFILL, tags={"processor": name}) for name in ("new_instruments", BY_HAND))


@sensor(
    job_name=BACKFILL,
    minimum_interval_seconds=15,
    tags={CHANGES: f"{INSTRUMENTS} {RUNS}"},
    description="Forgets an instrument that was removed and never had a bar.",
)
def removed_instruments(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.RunRequest | dg.SkipReason:
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
