"""The sensor that watches Dagster's own run queue."""

from datetime import UTC, datetime

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import sensor
from crypto_pipeline.ops.dagster_instance import run_queue


@sensor(
    name="run_queue_watch",
    minimum_interval_seconds=60,
    description="Looks every minute whether the run queue moves, and opens an alert when it does not.",
)
def run_queue_watch(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SkipReason:
    """Check `run_queue`: waiting runs are started."""
    state = run_queue.look(context.instance, datetime.now(UTC))
    with database.store() as store:
        run_queue.record(store, state)
    return dg.SkipReason(state.summary)
