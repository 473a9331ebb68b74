"""Checks of macro series. A series without enough data for a verdict does not pass, with the reason."""

from collections.abc import Iterable

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.macro.assets import OBSERVATIONS
from crypto_pipeline.healing.macro.checks import CHECKS, check_macro, record_macro


def macro_checks() -> dg.AssetChecksDefinition:
    """Every check over all collected series, as one step."""

    @dg.multi_asset_check(
        name="checks_macro",
        specs=[dg.AssetCheckSpec(name, asset=OBSERVATIONS, description=text) for name, text in CHECKS.items()],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        with database.store() as store:
            outcomes = check_macro(store, store.clock.now())
            record_macro(store, outcomes)
        selected = {key.name for key in context.selected_asset_check_keys}
        for one in outcomes:
            if one.name in selected:
                offenders = {} if one.offenders.is_empty() else {"offenders": metadata.table(one.offenders)}
                yield outcome_result(one, OBSERVATIONS, {**one.figures, **offenders})

    return checks
