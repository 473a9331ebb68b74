"""Checks of models and of predictions; every outcome also goes to the alerts."""

from collections.abc import Iterable

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, schedule, tags
from crypto_pipeline.defs.models.assets import asset_name
from crypto_pipeline.defs.models.predictions import LOOK_BACK, PREDICTIONS
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.models.booster import is_installed
from crypto_pipeline.models.stored.checks import CHECKS, verify_models
from crypto_pipeline.models.stored.completeness import CHECK, PROMISE, predictions_complete
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store


def model_checks(strategy: Strategy) -> dg.AssetChecksDefinition:
    """All checks of one strategy's models as one step."""
    asset = asset_name(strategy)
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in CHECKS.items()]

    @dg.multi_asset_check(name=f"checks_{strategy}_model", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            names = [name for name in CHECKS if name in selected]
            for outcome in _outcomes(store, strategy, names):
                yield _recorded(store, outcome, asset, f"model_{outcome.name}:{outcome.subject}")

    return checks


def _outcomes(store: Store, strategy: Strategy, names: list[str]) -> list[CheckOutcome]:
    if is_installed():
        return verify_models(store, strategy, load_settings(), store.clock.now(), names)
    words = "LightGBM is not installed: rules alone"
    return [CheckOutcome(name, strategy, True, "info", words) for name in names]


def _recorded(store: Store, outcome: CheckOutcome, asset: str, kept_as: str) -> dg.AssetCheckResult:
    """A result, kept where alerts come from: a failure opens one, a pass closes it."""
    rows = metadata.plain_rows(outcome.offenders, most=100)
    detail = {} if outcome.passed else {"offenders": rows}
    record_outcome(store, outcome, kept_as, None, detail)
    shown = {} if outcome.passed or outcome.offenders.is_empty() else {"offenders": metadata.table(outcome.offenders)}
    return outcome_result(outcome, asset, shown)


@dg.asset_check(asset=PREDICTIONS, name=CHECK, description=PROMISE)
def complete(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> dg.AssetCheckResult:
    """Look for setups without a prediction as far back as they are made good."""
    with database.store() as store:
        now = store.clock.now()
        outcome = predictions_complete(store, load_settings(), now - LOOK_BACK, now, now)
        return _recorded(store, outcome, PREDICTIONS, CHECK)


checks_of_models = [*(model_checks(strategy) for strategy in Strategy), complete]


def _keys() -> list[dg.AssetCheckKey]:
    return [dg.AssetCheckKey(dg.AssetKey(asset_name(strategy)), name) for strategy in Strategy for name in CHECKS]


check_models = dg.define_asset_job(
    "check_models",
    selection=dg.AssetSelection.checks(*_keys()),
    tags=tags(LOW),
    description="Checks the models in use: age, matured predictions, inputs, leaks.",
)
schedules = [
    schedule(
        "models_checked_daily", check_models, "35 4 * * *", "Every night: checks the models in use and the newest ones."
    )
]
