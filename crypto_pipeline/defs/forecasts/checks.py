"""Checks of forecasts and of their scores; every outcome also goes to the alerts."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.forecasts.stored.checks import CHECKS, SCORE_CHECKS, check_forecasts, check_scores
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.store import Store


def checks_of(
    asset: str, promises: Mapping[str, str], evaluate: Callable[[Store, datetime], list[CheckOutcome]]
) -> dg.AssetChecksDefinition:
    """All checks of one asset as one step."""
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in promises.items()]

    @dg.multi_asset_check(name=f"checks_{asset}", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            for outcome in evaluate(store, store.clock.now()):
                detail = {} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
                record_outcome(store, outcome, outcome.name, None, detail)
                if outcome.name in selected:
                    shown = {} if outcome.passed else {"offenders": metadata.table(outcome.offenders)}
                    yield outcome_result(outcome, asset, shown)

    return checks


checks_of_forecasts = [
    checks_of("forecasts", CHECKS, check_forecasts),
    checks_of("forecast_scores", SCORE_CHECKS, check_scores),
]
