"""Jobs: what a person launches or a schedule asks for, each one run whatever its span."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.bars import BAR_ASSETS, BY_HAND, coverage, instruments
from crypto_pipeline.defs.partitions import DAILY, WEEKLY
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.healing import HealReport, Pipeline, ReconcileReport
from crypto_pipeline.healing.passes import HISTORY, NAMED
from crypto_pipeline.healing.processors import measured
from crypto_pipeline.market.timeframes import Timeframe, parse_time

# Higher runs first when the queue is full. Ingest stands above all of these.
CRITICAL, HIGH, MEDIUM, LOW = 40, 30, 20, 10
#: Seconds between two looks of a sensor that must be quick. Dagster goes round all sensors every 5 s. One that asks for
#: 5 is often a moment early, and waits for the next round.
SOON = 4


def tags(priority: int, processor: str) -> dict[str, str]:
    """Queue priority, and the processor's name to filter runs by."""
    return {"dagster/priority": str(priority), "processor": processor}


def schedule(name: str, job: Any, cron: str, description: str) -> dg.ScheduleDefinition:
    """A schedule in UTC that is on from the start and asks for a job as it is."""
    return dg.ScheduleDefinition(
        name=name, job=job, cron_schedule=cron, execution_timezone="UTC", description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )  # fmt: skip


_DAILY_BARS = [asset for asset, timeframe in zip(BAR_ASSETS, Timeframe, strict=True) if timeframe is not Timeframe.W1]
_WEEKLY_BARS = [BAR_ASSETS[-1]]

backfill_bars = dg.define_asset_job(
    "backfill_bars",
    selection=dg.AssetSelection.assets(instruments, *_DAILY_BARS, coverage),
    partitions_def=DAILY,
    tags=tags(MEDIUM, BY_HAND),
    description="Brings the bars of the chosen days from 1m to 1d up to date: instruments in config of `scope`.",
)
weekly_bars = dg.define_asset_job(
    "weekly_bars",
    selection=dg.AssetSelection.assets(*_WEEKLY_BARS),
    partitions_def=WEEKLY,
    tags=tags(MEDIUM, BY_HAND),
    description="Brings the weekly bars of the chosen weeks up to date, from the daily ones.",
)
refresh_instruments = dg.define_asset_job(
    "refresh_instruments",
    selection=dg.AssetSelection.assets(instruments),
    tags=tags(HIGH, "instruments"),
    description="Asks the venue again for names, rules and listing dates of the instruments that are collected.",
)


class Span(dg.Config):
    """Days and instruments. Without a span: the gaps that are due, wherever they are; in a span, all of them now."""

    start: str | None = None
    end: str | None = None
    instruments: list[str] = Field(default=[])
    job: str = Field(default="gap_fill", description="Name under which the metrics row is written.")

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """The span as UTC datetimes. Raises ValueError naming the bad value."""
        start = parse_time(self.start) if self.start else None
        end = parse_time(self.end) if self.end else None
        if start and end and start >= end:
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return start, end


class Comparison(Span):
    """What to reconcile. Without a start: the newest ``days``."""

    days: int = 2
    reread: bool = False


@dg.op(description="Fill every hole that is due, wherever it is; with a span, every hole in it now.")
def heal(context: dg.OpExecutionContext, config: Span, database: Market) -> None:
    """Plan → fetch → write → explain over the span, every timeframe."""
    start, end = config.bounds()

    async def work(pipeline: Pipeline) -> HealReport:
        mode = NAMED if start or end else HISTORY
        fill = partial(pipeline.backfill, start, end, config.instruments, mode=mode)
        return await measured(pipeline.store, config.job, fill, context.run.run_id)

    report = database.run(work)
    context.add_output_metadata({"report": dg.MetadataValue.json(report.as_dict())})
    context.log.info(f"{report.as_dict()}")


@dg.op(description="Compare our bars with the venue's own; refetch and settle what disagrees.")
def compare(context: dg.OpExecutionContext, config: Comparison, database: Market) -> None:
    """Reconcile 5m, 15m and 1h over the span; ``reread`` asks for every 1m bar again too."""
    start, end = config.bounds()

    async def work(pipeline: Pipeline) -> ReconcileReport:
        until = end or (await pipeline.horizon()).now
        since = start or until - timedelta(days=config.days)
        return await pipeline.reconcile(since, until, config.instruments, reread=config.reread)

    report = database.run(work)
    context.add_output_metadata({"report": dg.MetadataValue.json(report.as_dict())})
    context.log.info(f"{report.as_dict()}")


@dg.job(tags=tags(HIGH, "gap_fill"), description="Fills every hole of the ledger that is due, in all timeframes.")
def fill_gaps() -> None:
    """One pass of healing without touching partitions."""
    heal()


@dg.job(
    tags=tags(LOW, "reconcile"),
    description="Compares stored bars with the venue's own over a span, and settles what disagrees.",
)
def reconcile() -> None:
    """One reconciliation."""
    compare()


JOBS: list[Any] = [backfill_bars, weekly_bars, refresh_instruments, fill_gaps, reconcile]
