"""The sensor ``stale_features``: days whose bars are not those that their features were computed from."""

from datetime import date, datetime, timedelta

import dagster as dg
import polars as pl

from crypto_pipeline.defs.bars.jobs import BACKFILL
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.runs import MEDIUM, run_over_days, stretches, tags
from crypto_pipeline.defs.base.staleness import FollowBars
from crypto_pipeline.defs.features.assets import ASSET, JOB
from crypto_pipeline.features.stored.update import Universe, first_kept_day, stale_days
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

#: Stale days that are so near to each other are one run.
_ONE_RUN = timedelta(days=7)
#: Without a run that changed bars, stale days are looked for so often.
_LOOK_EVERY = timedelta(minutes=1)


def _request(first: date, last: date, now: datetime, today: date) -> dg.RunRequest:
    # Today changes with every bar: the key lets it through once an hour.
    minute = f"{now:%Y-%m-%dT%H}" if first == today else f"{now:%Y-%m-%dT%H:%M}"
    return run_over_days(f"features:{first}:{last}:{minute}", first, last, tags(MEDIUM, "stale_features"))


def days_due(store: Store, now: datetime) -> list[tuple[date, date]]:
    """First and last day of every stretch with stale features; today is a stretch of its own."""
    settings = load_settings()
    universe = Universe.from_store(store, settings.feature_benchmark)
    if not universe.instruments:
        return []
    # Days that retention removed are not asked for again.
    first = max(partitions().history_day.date(), first_kept_day(now, settings.keep_features_days))
    stale = stale_days(store, universe, universe.instruments, first, now.date())
    today = [(now.date(), now.date())] if stale.filter(pl.col("day") == now.date()).height else []
    earlier = stale.filter(pl.col("day") < now.date())["day"].unique().to_list()
    return [*stretches(earlier, _ONE_RUN), *today]


#: Look-back windows count. The running day, which the live path writes, is put right once an hour. While history is
#: being brought up to date the sensor waits: what is computed then is stale a moment later.
stale_features = FollowBars(
    every=_LOOK_EVERY,
    jobs=(JOB, BACKFILL),
    assets=lambda: {ASSET: 0},
    due=days_due,
    request=_request,
    nothing_due="the features of every day are of the stored bars",
).sensor(
    "stale_features",
    JOB,
    "After each backfill, and every minute: computes features of days whose bars have changed since.",
)
