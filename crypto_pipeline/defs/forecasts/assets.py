"""The assets of forecasts and of their scores, and the job and schedule of both.

Between two nights the program that serves reads publishes a forecast at every close: a run for each would cost more
than the work.
"""

from datetime import timedelta

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, dated_schedule, tags
from crypto_pipeline.defs.base.subjects import FORECASTS
from crypto_pipeline.defs.forecasts.metadata import (
    FORECAST_SCHEMA,
    SCORE_SCHEMA,
    forecast_metadata,
    score_metadata,
)
from crypto_pipeline.forecasts.stored.releases import score_releases
from crypto_pipeline.forecasts.stored.scores import score_expired
from crypto_pipeline.forecasts.stored.update import bring_up_to_date

_NIGHTLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=54), warn_window=timedelta(hours=30))


@dg.asset(
    **FORECASTS.arguments("research"),
    kinds={"postgres"},
    deps=["ohlc_1h", "ohlc_1d"],
    freshness_policy=_NIGHTLY,
    description="Where prices will be: 24 hours, 7 days and 4 weeks ahead, with 80 % and 95 % intervals. A "
    "materialization fits every series to its bars, chooses the best of naive, drift and exponential smoothing on "
    "rolling origins, and publishes the forecasts of the newest closes. Every forecast is stored once, as published.",
    metadata={"dagster/table_name": "research.forecasts", "dagster/column_schema": FORECAST_SCHEMA},
)
def forecasts(
    context: dg.AssetExecutionContext, database: MarketDatabase, scope: RunScope
) -> dg.MaterializeResult[None]:
    """Fit every series and publish what is due."""
    with database.store() as store:
        now = store.clock.now()
        report = bring_up_to_date(store, scope.instruments, now)
        for series, why in report.fits.lacking.items():
            context.log.info(f"{series}: {why}")
        return dg.MaterializeResult(metadata=forecast_metadata(store, report, now))


@dg.asset(
    **FORECASTS.arguments("research"),
    kinds={"postgres"},
    deps=[forecasts],
    freshness_policy=_NIGHTLY,
    description="What came of every forecast, compared once with what had been published: coverage of its intervals "
    "and pinball loss against naive, by horizon and step.",
    metadata={"dagster/table_name": "research.forecast_scores", "dagster/column_schema": SCORE_SCHEMA},
)
def forecast_scores(database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Score every forecast whose last target has passed."""
    with database.store() as store:
        now = store.clock.now()
        scored = score_expired(store, now) + score_releases(store, now)
        return dg.MaterializeResult(metadata=score_metadata(store, scored))


make_forecasts = asset_job(
    "make_forecasts",
    [forecasts, forecast_scores],
    tags(MEDIUM, "forecasts"),
    "Fits and publishes forecasts, and scores those that have expired.",
)

forecasts_nightly = dated_schedule(
    "forecasts_nightly",
    make_forecasts,
    "20 0 * * *",
    "forecasts:%Y-%m-%d",
    "Every night, after the bars of the day have closed: fits, publishes and scores forecasts.",
)
