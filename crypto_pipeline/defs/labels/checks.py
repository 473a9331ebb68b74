"""Checks of labels; every outcome also goes to the alerts."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import checked_span, outcome_result, record_outcome
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.labels.metadata import pictures
from crypto_pipeline.defs.labels.strategy_assets import asset_name, learned_parameters
from crypto_pipeline.labels.parameters import DEFAULT
from crypto_pipeline.labels.stored.checks import check_labels, checks_of
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store


def label_checks(strategy: Strategy) -> dg.AssetChecksDefinition:
    """All checks of one strategy's labels as one step; every outcome also goes to the alerts."""
    asset = asset_name(strategy)
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in checks_of(strategy).items()]

    @dg.multi_asset_check(name=f"checks_{strategy}_labels", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            now = store.clock.now()
            start, end = checked_span(context, store)
            sets = learned_parameters(strategy)
            start, end = _with_failures(store, strategy, start, end)
            settings, history = load_settings(), (partitions().history_day, min(end, now))
            for outcome in check_labels(
                store, strategy, sets, (start, end), history, now, settings.label_events,
                settings.feature_benchmark,
            ):  # fmt: skip
                record(store, outcome)
                if outcome.name in selected:
                    yield _result(store, outcome, asset, sets, end)

    return checks


def _with_failures(store: Store, strategy: Strategy, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The span with every day in it that was not current before: only a look at the same days takes that back."""
    detail = store.checks.failed_on(str(strategy)).get("labels_current", {})
    days = [datetime.fromisoformat(row["day"]).replace(tzinfo=UTC) for row in detail.get("offenders", [])]
    return min([start, *days]), max([end, *(day + timedelta(days=1) for day in days)])


def record(store: Store, outcome: CheckOutcome) -> None:
    """Keep a result where alerts come from: a failure opens one, a pass closes it."""
    detail = {} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
    record_outcome(store, outcome, f"{outcome.name}:{outcome.subject}", TIMEFRAME, detail)


def _result(
    store: Store, outcome: CheckOutcome, asset: str, sets: dict[str, Parameters], end: datetime
) -> dg.AssetCheckResult:
    hashes = {name: parameters.hash for name, parameters in sets.items()}
    shown: dict[str, Any] = {"summary": outcome.summary, "parameters": hashes}
    shown["offending"] = 0 if outcome.passed else outcome.offenders.height
    if outcome.name == "too_few_events":
        shown["labels_by_instrument"] = metadata.table(outcome.offenders, most=200)
        strategy = Strategy(outcome.subject)
        history = store.labels.read(strategy.definition.table, hashes[DEFAULT], partitions().history_day, end)
        shown |= pictures(store, strategy, history, history)
    elif outcome.offenders.height and not outcome.passed:
        shown["offenders"] = metadata.table(outcome.offenders)
    return outcome_result(outcome, asset, shown)


checks_of_labels = [label_checks(strategy) for strategy in Strategy]
