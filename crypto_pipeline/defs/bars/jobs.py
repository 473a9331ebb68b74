"""Jobs over bars: what a person launches or a schedule asks for, each one run whatever its span."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import BY_HAND, HIGH, LOW, MEDIUM, asset_job, op_job, tags
from crypto_pipeline.healing import Deployment, HealReport, ReconcileReport
from crypto_pipeline.healing.passes import HISTORY, NAMED
from crypto_pipeline.healing.processors import measured
from crypto_pipeline.market.timeframes import Timeframe, parse_time

#: Name of the job that brings days of bars up to date.
BACKFILL = "backfill_bars"


def backfill_job(name: str, assets: list[str]) -> Any:
    """The job over days of a source's bars from 1m to 1d, its instruments and the coverage."""
    about = "Brings the bars of the chosen days from 1m to 1d up to date: instruments in config of `scope`."
    return asset_job(name, assets, tags(MEDIUM, BY_HAND), about, partitions_def=partitions().daily)


def weekly_job(name: str, bars: str) -> Any:
    """The job over weeks of a source's bars."""
    about = "Brings the weekly bars of the chosen weeks up to date, from the daily ones."
    return asset_job(name, [bars], tags(MEDIUM, BY_HAND), about, partitions_def=partitions().of(Timeframe.W1))


def refresh_job(name: str, instruments: str) -> Any:
    """The job that asks the venue of a source for its instruments."""
    about = "Asks the venue again for names, rules and listing dates of the instruments that are collected."
    return asset_job(name, [instruments], tags(HIGH, "instruments"), about)


class ChosenSpan(dg.Config):
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


class Reconciliation(ChosenSpan):
    """What to reconcile. Without a start: the newest ``days``."""

    days: int = 2
    reread: bool = False


@dg.op(description="Fill every hole that is due, wherever it is; with a span, every hole in it now.")
def heal(context: dg.OpExecutionContext, config: ChosenSpan, database: MarketDatabase) -> None:
    """Plan → fetch → write → explain over the span, every timeframe."""
    start, end = config.bounds()

    async def work(deployment: Deployment) -> HealReport:
        mode = NAMED if start or end else HISTORY
        fill = partial(deployment.backfill, start, end, config.instruments, mode=mode)
        return await measured(deployment.store, config.job, fill, context.run.run_id)

    report = database.run(work)
    context.add_output_metadata({"report": dg.MetadataValue.json(report.as_dict())})
    context.log.info(f"{report.as_dict()}")


@dg.op(description="Compare our bars with the venue's own; refetch and settle what disagrees.")
def compare(context: dg.OpExecutionContext, config: Reconciliation, database: MarketDatabase) -> None:
    """Reconcile 5m, 15m and 1h over the span; ``reread`` asks for every 1m bar again too."""
    start, end = config.bounds()

    async def work(deployment: Deployment) -> ReconcileReport:
        until = end or await deployment.now()
        since = start or until - timedelta(days=config.days)
        return await deployment.reconcile(since, until, config.instruments, reread=config.reread)

    report = database.run(work)
    context.add_output_metadata({"report": dg.MetadataValue.json(report.as_dict())})
    context.log.info(f"{report.as_dict()}")


#: One pass of healing without touching partitions.
fill_gaps = op_job(
    "fill_gaps", heal, tags(HIGH, "gap_fill"), "Fills every hole of the ledger that is due, in all timeframes."
)
reconcile = op_job(
    "reconcile",
    compare,
    tags(LOW, "reconcile"),
    "Compares stored bars with the venue's own over a span, and settles what disagrees.",
)
