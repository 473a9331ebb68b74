"""Jobs and schedules that keep the series of one venue up to date: price updates and the historical sync."""

from functools import partial
from typing import Any

import dagster as dg

from crypto_pipeline.defs.bars.assets import LoggedProgress
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, MEDIUM, is_running, op_job, tags, unless_running
from crypto_pipeline.healing import HealReport, Pipeline
from crypto_pipeline.healing.processors import measured
from crypto_pipeline.healing.sync.history import SyncReport, sync_history
from crypto_pipeline.healing.sync.price_update import update_prices

#: Begins of the names of the two jobs and schedules of a venue.
PRICES, HISTORY = "price_update", "historical_sync"


def price_job(venue: str) -> dg.JobDefinition:
    """The job that asks ``venue`` for the newest minutes of its instruments, and stores them with the prices."""
    name = f"{PRICES}_{venue}"

    @dg.op(name=f"update_prices_of_{venue}", description="Ask for the newest minutes, and store them with the prices.")
    def update(context: dg.OpExecutionContext, database: MarketDatabase) -> None:
        async def work(pipeline: Pipeline) -> HealReport:
            return await measured(pipeline.store, name, partial(update_prices, pipeline), context.run.run_id)

        report = database.run_at(venue, work, live=True)
        for instrument, problem in report.problems.items():
            context.log.warning(f"{instrument}: {problem}")
        context.add_output_metadata({"report": dg.MetadataValue.json(report.as_dict())})

    # Not tagged as a processor: it takes seconds, and must not wait until a long backfill frees its slot.
    about = f"Stores the newest prices of {venue}, and the minutes since the last ones."
    return op_job(name, update, {**tags(HIGH), "source": venue}, about)


def history_job(venue: str) -> dg.JobDefinition:
    """The job of the historical sync of ``venue``."""
    name = f"{HISTORY}_{venue}"

    @dg.op(name=f"sync_history_of_{venue}", description="Move what is known into history, heal what lags behind.")
    def sync(context: dg.OpExecutionContext, database: MarketDatabase) -> None:
        collecting = is_running(context.instance, tags={"processor": "new_instruments"})

        async def work(pipeline: Pipeline) -> SyncReport:
            reports: list[SyncReport] = []

            async def both() -> HealReport:
                report = await sync_history(pipeline, LoggedProgress(context), with_absent=not collecting)
                reports.append(report)
                return report.whole()

            await measured(pipeline.store, name, both, context.run.run_id)
            return reports[0]

        report = database.run_at(venue, work)
        shown = report.as_dict()
        context.add_output_metadata(
            {
                "moved_into_history": dg.MetadataValue.json(shown["known"]),
                "healed": dg.MetadataValue.json(shown["healed"]),
                "behind": dg.MetadataValue.json(shown["behind"]),
            }
        )
        if report.failure is not None:
            raise dg.Failure(f"what was known is in history; nothing was healed: {report.failure}")

    about = f"Moves what is known of {venue} into history, then heals every series that is three hours behind."
    return op_job(name, sync, {**tags(MEDIUM, HISTORY), "source": venue}, about)


def source_schedule(job: Any, cron: str, description: str) -> dg.ScheduleDefinition:
    """The schedule, called as ``job``, that asks for a run of it, unless one is unfinished."""
    return unless_running(job, cron, description, name=job.name)(lambda context: None)
