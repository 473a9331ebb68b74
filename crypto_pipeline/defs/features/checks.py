"""Checks of ``ml_features``; every outcome also goes to the alerts."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import checked_span, outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.features.assets import ASSET
from crypto_pipeline.features.stored.checks import CHECKS, Sample, verify_features
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store


@dg.multi_asset_check(
    name=f"checks_{ASSET}",
    specs=[dg.AssetCheckSpec(name, asset=ASSET, description=text) for name, text in CHECKS.items()],
    can_subset=True,
)
def feature_checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
    """Every check of the features as one step; every outcome also goes to the alerts."""
    selected = [key.name for key in context.selected_asset_check_keys]
    with database.store() as store:
        start, end = checked_span(context, store)
        benchmark = load_settings().feature_benchmark
        names = [name for name in CHECKS if name in selected]
        earlier = {name: Sample.from_detail(detail) for name, detail in store.checks.failed_on(ASSET).items()}
        failed_on = {name: sample for name, sample in earlier.items() if sample is not None}
        for outcome in verify_features(store, start, end, benchmark=benchmark, names=names, failed_on=failed_on):
            record(store, outcome)
            yield _result(outcome)


def record(store: Store, outcome: CheckOutcome) -> None:
    """Keep the outcome; one that failed opens an alert."""
    detail = {} if outcome.passed else _failed_on(outcome)
    record_outcome(store, outcome, f"{outcome.name}:ml_features", Timeframe.M15, detail)


def _failed_on(outcome: CheckOutcome) -> dict[str, Any]:
    return {**outcome.detail, "offenders": metadata.plain_rows(outcome.offenders, most=100)}


def _result(outcome: CheckOutcome) -> dg.AssetCheckResult:
    shown: dict[str, Any] = {"summary": outcome.summary, "offending": outcome.offenders.height}
    if (sample := Sample.from_detail(outcome.detail)) is not None:
        shown["from"] = dg.MetadataValue.timestamp(sample.start)
        shown["to"] = dg.MetadataValue.timestamp(sample.end)
    if outcome.offenders.height and not outcome.passed:
        shown["offenders"] = metadata.table(outcome.offenders)
    return outcome_result(outcome, ASSET, shown)
