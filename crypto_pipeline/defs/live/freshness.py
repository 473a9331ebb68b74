"""Freshness, per instrument and timeframe and by its calendar: a look every minute, and a fill where bars are few.

Dagster's own freshness policies judge the last materialization of a whole asset. They do not see one series that
stopped.
"""

import time
from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.bars.checks import as_evaluation, record
from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import sensor
from crypto_pipeline.defs.live.gaps import NewestGaps, being_collected, is_filling, live_gap_fill, request
from crypto_pipeline.defs.sources.checks import record_source, source_event
from crypto_pipeline.healing import CheckOutcome

FILL = "freshness_fill"
#: A run for the same reason is asked for at most this often, seconds.
_EVERY = 300
_LOOK_BACK = timedelta(hours=2)


@sensor(
    job=live_gap_fill,
    minimum_interval_seconds=60,
    description="Every minute: checks whether venues answer and how overdue each series is, fills hours with few bars.",
)
def freshness(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult:
    """Every minute: whether each venue answers, how overdue each series is, and a fill where an hour has few bars."""
    outcomes, short, of_venues = database.run(lambda deployment: deployment.freshness(), live=True)
    with database.store() as store:
        collecting = being_collected(context.instance, store)
        for outcome in outcomes:
            record(store, outcome)
        for outcome in of_venues:
            record_source(store, outcome)
    # Dagster is told of changes only: its event log keeps every evaluation for ever.
    levels = {str(one.timeframe): level(one) for one in outcomes}
    states = {f"{one.subject}:{one.name}": level(one) for one in of_venues}
    before = dict(part.split("=") for part in (context.cursor or "").split(",") if part)
    events = [_event(one) for one in outcomes if levels[str(one.timeframe)] != before.get(str(one.timeframe), "ok")]
    events += [source_event(one) for one in of_venues if level(one) != before.get(f"{one.subject}:{one.name}")]
    requests = []
    wanted = sorted(set(short) - set(collecting))
    if wanted and not is_filling(context.instance):
        config = NewestGaps(hours=_LOOK_BACK / timedelta(hours=1), instruments=wanted, job=FILL)
        requests.append(request(config, f"thin:{int(time.time()) // _EVERY}"))
    late = [f"{name} {found}" for name, found in (levels | states).items() if found != "ok"]
    said = f"{', '.join(late) or 'every series is fresh'}; {len(short)} instruments with too few bars in the last hour"
    return dg.SensorResult(
        run_requests=requests,
        asset_events=events,
        cursor=",".join(f"{name}={found}" for name, found in (levels | states).items()),
        skip_reason=None if requests else said,
    )


def level(outcome: CheckOutcome) -> str:
    """`ok`, or how grave the failure is."""
    return "ok" if outcome.passed else outcome.severity


def _event(outcome: CheckOutcome) -> dg.AssetCheckEvaluation:
    shown: dict[str, Any] = {"late": outcome.offenders.height, **outcome.figures}
    return as_evaluation(outcome, shown | ({"offenders": metadata.table(outcome.offenders)} if shown["late"] else {}))
