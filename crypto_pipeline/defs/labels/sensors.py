"""The sensor ``labels_due``: labels whose horizon has ended, or whose bars changed."""

from datetime import date, datetime, timedelta

import dagster as dg

from crypto_pipeline.defs.bars.jobs import BACKFILL
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.runs import MEDIUM, run_over_days, stretches, tags
from crypto_pipeline.defs.base.staleness import FollowBars
from crypto_pipeline.defs.labels.assets import JOB
from crypto_pipeline.defs.labels.strategy_assets import asset_name, chosen_parameters, reach
from crypto_pipeline.labels.stored.update import due_cells_of_sets, traded
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

#: Days that are due and so near to each other are one run.
_ONE_RUN = timedelta(days=7)
#: Without a run that changed bars, labels that are due are looked for so often.
_LOOK_EVERY = timedelta(minutes=5)


def _request(first: date, last: date, now: datetime, _: date) -> dg.RunRequest:
    return run_over_days(f"labels:{first}:{last}:{now:%Y-%m-%dT%H:%M}", first, last, tags(MEDIUM))


def days_due(store: Store, now: datetime) -> list[tuple[date, date]]:
    """First and last day of every stretch in which a label of any strategy or set is due."""
    tiers, benchmark = traded(store), load_settings().feature_benchmark
    days: set[date] = set()
    for strategy in Strategy if tiers else ():
        sets, span = chosen_parameters(strategy), (partitions().history_day, now)
        due = due_cells_of_sets(store, strategy, sets, span, now, tiers, benchmark=benchmark)
        for cells in due.values():
            days |= set(cells["day"].unique().to_list())
    return stretches(days, _ONE_RUN)


#: While history is being brought up to date the sensor waits: what is computed then is stale a moment later.
labels_due = FollowBars(
    every=_LOOK_EVERY,
    jobs=(JOB, BACKFILL),
    assets=lambda: {asset_name(strategy): reach(strategy)[1] for strategy in Strategy},
    due=days_due,
    request=_request,
    nothing_due="no label is due",
).sensor(
    "labels_due",
    JOB,
    "After each backfill, and every 5 minutes: writes labels that are due or whose bars have changed.",
)
