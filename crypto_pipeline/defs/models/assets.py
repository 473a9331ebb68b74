"""The model assets: one per strategy, trained in a process of its own from all labels that have ended.

Too little data is a state that the materialization shows, with what is missing and when it will suffice; the run
succeeds, and the strategy goes on with its rules alone.
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, tags
from crypto_pipeline.defs.base.subjects import MODELS
from crypto_pipeline.defs.labels.strategy_assets import asset_name as labels_of
from crypto_pipeline.defs.models import columns
from crypto_pipeline.defs.models.metadata import not_installed, shown
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.booster import is_installed
from crypto_pipeline.models.stored.training_run import train_stored
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

JOB = "train_models"
_MONDAY = 0


def asset_name(strategy: Strategy) -> str:
    """The asset of a strategy's model."""
    return f"{strategy}_model"


@dg.definitions
def models() -> dg.Definitions:
    """One asset for each strategy, and the job and the schedule that train all of them."""
    job = asset_job(
        JOB,
        [asset_name(strategy) for strategy in Strategy],
        tags(LOW),
        "Trains a model for each strategy, as a challenger of the one in use, and checks it.",
    )
    return dg.Definitions(
        assets=[model_asset(strategy) for strategy in Strategy], jobs=[job], schedules=[weekly_schedule(job)]
    )


def weekly_schedule(job: Any) -> dg.ScheduleDefinition:
    """The schedule that asks for a training of every strategy each Monday, and of one that waits for it before."""

    @dg.schedule(
        name="models_weekly", job=job, cron_schedule="10 3 * * *", execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Monday: trains and checks a challenger for each strategy; before, for one that now has "
        "enough data.",
    )  # fmt: skip
    def request(context: dg.ScheduleEvaluationContext, database: MarketDatabase) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        chosen = list(Strategy)
        if moment.weekday() != _MONDAY:
            with database.store() as store:
                chosen = waiting(store)
        if not chosen:
            return dg.SkipReason("the next training is on Monday")
        keys = [dg.AssetKey(asset_name(strategy)) for strategy in chosen]
        return dg.RunRequest(run_key=f"{JOB}:{moment:%Y-%m-%d}", asset_selection=keys)

    return request


def waiting(store: Store) -> list[Strategy]:
    """Strategies that were never trained, or had too little data until now."""
    now, found = store.clock.now(), []
    for strategy in Strategy:
        run = store.models.newest_run(str(strategy))
        if run is None or (run.sufficient_at is not None and run.sufficient_at <= now):
            found.append(strategy)
    return found


def model_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """The asset ``<strategy>_model``."""

    @dg.asset(
        name=asset_name(strategy),
        **MODELS.arguments("research", strategy=str(strategy)),
        kinds={"lightgbm", "postgres"},
        deps=[labels_of(strategy), "ml_features"],
        description=f"A model of which {strategy.value.upper()} setups will gain: it learns from the set `loose`, and "
        "is judged and used on the set `default`. Walk-forward with purged labels, a hold-out that it never sees, and "
        "calibrated probabilities. Not used before it has passed the test of promotion.",
        metadata={"dagster/table_name": "research.models", "dagster/column_schema": columns.MODELS},
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8)),
        op_tags={"strategy": str(strategy)},
    )
    def model(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
        return train_model(context, database, strategy)

    return model


def train_model(
    context: dg.AssetExecutionContext, database: MarketDatabase, strategy: Strategy
) -> dg.MaterializeResult[None]:
    """Train a model of one strategy and show what came of it."""
    if not is_installed():
        return dg.MaterializeResult(metadata=not_installed())

    def tell(step: str, share: float) -> None:
        context.log.info(f"{share:4.0%} {step}")

    with database.store() as store:
        outcome = train_stored(store, strategy, load_settings(), progress=tell)
        version = outcome.model_id or f"{outcome.status}.{outcome.events}"
        return dg.MaterializeResult(metadata=shown(store, outcome), data_version=dg.DataVersion(version))
