"""The live gap monitor: every five minutes it looks at the newest seven days and has each gap it finds filled.

The sensor looks for gaps, so that a tick without a gap costs no run. The run looks again, because gaps may have closed
or come meanwhile, and fills just those. It has a slot of its own in the run queue, and a share of the venue's requests
that history leaves to it.
"""

import json
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
from pydantic import Field

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import CRITICAL, UNFINISHED, chosen_instruments_of, is_running, op_job, sensor
from crypto_pipeline.healing import Deployment, HealReport
from crypto_pipeline.healing.processors import MONITORED, measured, record_idle_pass
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

MONITOR = "live_gap_monitor"
JOB = "live_gap_fill"


class NewestGaps(dg.Config):
    """Which gaps are looked for, and under which name the metrics of filling them are written."""

    hours: float = Field(default=MONITORED / timedelta(hours=1), gt=0, description="How far back gaps are looked for.")
    instruments: list[str] = Field(default=[], description="Canonical symbols. Empty: every active instrument.")
    collecting: list[str] = Field(
        default=[], description="Instruments whose history is being collected for the first time: it is no gap yet."
    )
    job: str = Field(default=MONITOR, description="Name under which the metrics row is written.")


@dg.op(description="Find the gaps of the newest days and fill each: from stored trades, else from the venue.")
def fill_found_gaps(context: dg.OpExecutionContext, config: NewestGaps, database: MarketDatabase) -> None:
    """Fill just the gaps found, however many; their 1m bars are called `live_gap_filled`."""
    found: list[pl.DataFrame] = []

    async def work(deployment: Deployment) -> HealReport:
        async def fill() -> HealReport:
            gaps = await deployment.find_gaps(
                timedelta(hours=config.hours), config.instruments, collecting=config.collecting
            )
            found.append(gaps)
            for name, start, end, timeframe in gaps.head(50).iter_rows():
                context.log.info(f"gap: {name} {timeframe} {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")
            return await deployment.fill_gaps(gaps)

        return await measured(deployment.store, config.job, fill, context.run.run_id)

    report = database.run(work, live=True)
    context.add_output_metadata({"gaps": metadata.table(found[0]), "report": dg.MetadataValue.json(report.as_dict())})


live_gap_fill = op_job(
    JOB,
    fill_found_gaps,
    {"dagster/priority": str(CRITICAL), "live": "gaps"},
    "Fills the gaps of the newest days: from stored trades, else from a venue.",
)


def request(config: NewestGaps, key: str) -> dg.RunRequest:
    """A run of `live_gap_fill`."""
    return dg.RunRequest(
        run_key=key, run_config=dg.RunConfig(ops={"fill_found_gaps": config}), tags={"live": config.job}
    )


def is_filling(instance: dg.DagsterInstance) -> bool:
    """Whether gaps are being filled, or about to be."""
    return is_running(instance, JOB)


def being_collected(instance: dg.DagsterInstance, store: Store) -> list[str]:
    """Active instruments whose history is being collected for the first time, or is about to be: it has no bar."""
    newest = store.audit.newest(Timeframe.M1)
    active = newest["instrument"].to_list()
    chosen = dg.RunsFilter(tags={"processor": "new_instruments"}, statuses=UNFINISHED)
    names: set[str] = set(newest.filter(pl.col("open_time").is_null())["instrument"])
    for run in instance.get_runs(chosen):
        names.update(chosen_instruments_of(run) or active)
    return sorted(names & set(active))


@sensor(
    job=live_gap_fill,
    minimum_interval_seconds=300,
    description="Every 5 minutes: finds the gaps of the last 7 days and asks for a run that fills them.",
)
def live_gap_monitor(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.RunRequest | dg.SkipReason:
    """Every 5 minutes over 7 days, whatever the coverage: a run where there is a gap, which fills just the gaps."""
    if is_filling(context.instance):
        return dg.SkipReason("gaps are being filled now")
    started, clock = datetime.now(UTC), time.monotonic()
    with database.store() as store:
        collecting = being_collected(context.instance, store)
    gaps = database.run(lambda deployment: deployment.find_gaps(MONITORED, collecting=collecting), live=True)
    if gaps.is_empty():
        with database.store() as store:
            record_idle_pass(store, MONITOR, started, time.monotonic() - clock)
        return dg.SkipReason("no gap in the last 7 days")
    first = gaps.sort("start").row(0, named=True)
    context.log.info(f"{gaps.height} gaps, the first: {json.dumps(metadata.plain_rows(gaps.sort('start'), most=1)[0])}")
    return request(NewestGaps(collecting=collecting), f"gaps:{int(time.time())}:{first['instrument']}")
