"""The test of promotion, once in 28 days for each strategy: looked after every week, decided when it is due."""

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, op_job, schedule, tags
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.booster import is_installed
from crypto_pipeline.models.stored.promotion import decide_promotion
from crypto_pipeline.settings import load_settings


@dg.op(description="Test each strategy's challenger on its hold-out, where that is due, and follow the decision.")
def test_challengers(context: dg.OpExecutionContext, database: MarketDatabase) -> None:
    """Every decision is stored with its figures, whichever way it goes."""
    if not is_installed():
        context.log.info("LightGBM is not installed: there are no models")
        return
    with database.store() as store:
        told = {}
        for strategy in Strategy:
            outcome = decide_promotion(store, strategy, load_settings())
            told[str(strategy)] = f"{outcome.status}: {outcome.because}"
            context.log.info(f"{strategy} {told[str(strategy)]}")
        context.add_output_metadata(told)


promote_models = op_job(
    "promote_models",
    test_challengers,
    tags(LOW),
    "Tests each strategy's challenger against the model in use, once in 28 days, and promotes it if it is better.",
)
schedules = [
    schedule(
        "promotion_weekly",
        promote_models,
        "40 5 * * 1",
        "Every Monday, after the training: looks whether a test of promotion is due, which is so once in 28 days.",
    )
]
