"""The comparison of all stored bars with the venue's own bars, by itself and after everything urgent.

A sensor asks for a run while days are due and nothing else is running. The run has a slot of its own in the queue, the
lowest priority and a small share of the venue's requests; it waits while any other run but ingest is unfinished, and
ends after some minutes. Whatever ends it, the next run goes on where it was.
"""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.bars import metadata as bar_metadata
from crypto_pipeline.defs.bars.assets import LoggedProgress
from crypto_pipeline.defs.bars.checks import as_evaluation, record
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOWEST, UNFINISHED, op_job, sensor
from crypto_pipeline.healing import CheckOutcome, Deployment
from crypto_pipeline.healing.comparison.rotation import ComparisonReport
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.dagster_instance.idle_sensors import CHANGES, RUNS
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

JOB = "compare_with_venue"
#: Jobs whose runs the comparison does not wait for.
_IGNORED = {JOB, "live_ingest"}
#: A run tells here how many days it left.
_LEFT = "comparison/left"
#: Before each unit it waits for other runs this long at most, seconds: then its share of requests protects them.
_LONGEST_WAIT = 60.0
#: After a run that left nothing, the next one is asked for no sooner than this.
_PAUSE = timedelta(minutes=15)
#: After a run that failed.
_AFTER_FAILURE = timedelta(minutes=5)
#: With other runs going on without end (a slow machine), it starts nevertheless after this: its share of requests and
#: its waiting before every unit still leave the others what they need.
_BLOCKED = timedelta(minutes=10)


class ComparisonLimits(dg.Config):
    """How long one run compares."""

    minutes: float | None = Field(
        default=None, gt=0, description="The run ends after this long. Default: the setting compare_minutes."
    )


def other_jobs(instance: dg.DagsterInstance) -> list[str]:
    """Names of the jobs of unfinished runs, without ingest and the comparison itself."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return sorted({run.job_name for run in runs} - _IGNORED)


async def _give_way(context: dg.OpExecutionContext) -> None:
    """Wait until no other run is unfinished, for a while."""
    ends, logged = time.monotonic() + _LONGEST_WAIT, False
    while time.monotonic() < ends and (names := await asyncio.to_thread(other_jobs, context.instance)):
        if not logged:
            context.log.info(f"waiting for {', '.join(names)}")
            logged = True
        await asyncio.sleep(1)


@dg.op(description="Compare the days that are due with the venue's own bars; refetch and settle what differs.")
def compare_due_days(context: dg.OpExecutionContext, config: ComparisonLimits, database: MarketDatabase) -> None:
    """What was never compared or changed since first, then what was compared longest ago."""
    settings = load_settings()
    seconds = 60 * (config.minutes or settings.compare_minutes)

    async def work(deployment: Deployment) -> tuple[ComparisonReport, list[CheckOutcome]]:
        report = await deployment.compare_due(seconds, LoggedProgress(context), partial(_give_way, context))
        touched = {Timeframe(name) for name in report.compared}
        return report, await deployment.agreement_checks(touched)

    report, outcomes = database.run(work, keep=1 - settings.compare_share)
    with database.store() as store:
        _report(context.instance, store, outcomes)
    context.instance.add_run_tags(context.run_id, {_LEFT: str(report.left)})
    context.log.info(
        f"{report.days:,} days of instruments compared, {sum(report.compared.values()):,} bars; {report.disagreed:,} "
        f"differed, {report.disputed:,} still do; {report.left:,} days are left: {report.ended}"
    )
    context.add_output_metadata(
        {
            "days": report.days,
            "compared": sum(report.compared.values()),
            "disagreed": report.disagreed,
            "disputed": report.disputed,
            "left": report.left,
            "report": dg.MetadataValue.json(report.as_dict()),
        }
    )


def _report(instance: dg.DagsterInstance, store: Store, outcomes: Iterable[CheckOutcome]) -> None:
    """The outcomes become results and alerts at once, not only when the bars are materialized the next time."""
    for outcome in outcomes:
        record(store, outcome)
        shown = bar_metadata.agreement(outcome)
        instance.report_runless_asset_event(as_evaluation(outcome, shown))


compare_with_venue = op_job(
    JOB,
    compare_due_days,
    {"dagster/priority": str(LOWEST), "comparison": "venue"},
    "Compare stored bars with the venue's own: each day once, then again in rotation and when it changed.",
)


@sensor(
    job=compare_with_venue,
    minimum_interval_seconds=30,
    tags={CHANGES: RUNS},
    description="Ask for a comparison with the venue's own bars while days are due and no other run is unfinished.",
)
def comparison_due(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run unless one is unfinished, others are, or the last one left nothing a short while ago.

    The cursor is the moment since which other runs have been in the way.
    """
    now = datetime.now(UTC)
    last = context.instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=1)
    if last and (wait := _pause(last[0], now)) is not None:
        return dg.SkipReason(wait)
    names = other_jobs(context.instance)
    since = datetime.fromisoformat(context.cursor) if context.cursor else now
    if names and now - since < _BLOCKED:
        return dg.SensorResult(skip_reason=f"after {', '.join(names)}", cursor=since.isoformat())
    days = database.run(lambda deployment: deployment.due_for_comparison()).height
    if not days:
        return dg.SensorResult(skip_reason="every day was compared as it is", cursor="")
    context.log.info(f"{days:,} days of instruments are to be compared")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"{JOB}:{int(time.time())}")], cursor="")


def _pause(last: dg.RunRecord, now: datetime) -> str | None:
    """Why no run is asked for after the last one; None: it is time."""
    run = last.dagster_run
    if run.status in UNFINISHED:
        return "days are being compared now"
    ended = datetime.fromtimestamp(last.end_time, UTC) if last.end_time else last.create_timestamp
    if run.status is not dg.DagsterRunStatus.SUCCESS:
        waits = _AFTER_FAILURE
    elif int(run.tags.get(_LEFT, "0")):
        return None
    else:
        waits = _PAUSE
    return None if now - ended >= waits else f"the last comparison ended at {ended:%H:%M} UTC"
