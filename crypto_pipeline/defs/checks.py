"""Asset checks, the same six on every timeframe and one more on minutes, each with the offenders and a heatmap.

A failed check that does not block is seen by no sensor of Dagster; so every outcome also goes to `ops.check_results`,
and a failing one opens a row in `ops.alerts` that closes when it passes again.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import dagster as dg

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.partitions import DAILY, FIRST_DAY, WEEKLY
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.healing import CheckOutcome, Pipeline
from crypto_pipeline.healing.checks.stored_bars import checks_of
from crypto_pipeline.healing.comparison.agreement import NAME as AGREEMENT
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

# Only what no later step could repair may stop a run: bars that cannot be.
_BLOCKING = {"ohlc_sanity", "no_future_bars"}


def bar_checks(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    """All checks of ``ohlc_<timeframe>`` as one step."""
    asset = f"ohlc_{timeframe}"
    specs = [
        dg.AssetCheckSpec(name, asset=asset, description=text, blocking=name in _BLOCKING)
        for name, text in checks_of(timeframe).items()
    ]

    @dg.multi_asset_check(name=f"checks_{timeframe}", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: Market) -> Iterable[dg.AssetCheckResult]:
        outcomes, start, end = database.run(
            lambda pipeline: evaluate(pipeline, timeframe, *checked_span(context, pipeline.store))
        )
        wanted = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            for outcome in outcomes:
                record(store, outcome, None if outcome.name == AGREEMENT else (start, end))
                if outcome.name in wanted:
                    yield as_result(outcome, asset, metadata.check(store, outcome, start, end))

    return checks


def record(store: Store, outcome: CheckOutcome, span: tuple[datetime, datetime] | None = None) -> None:
    """Keep the outcome, and open or close its alert. A failure on a ``span`` is looked at again with that span; a
    dispute with the venue ends by another comparison, whatever span a run looks at."""
    detail: dict[str, Any] = {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
    if span is not None:
        detail |= {"start": span[0].isoformat(), "end": span[1].isoformat()}
    store.checks.record_result(
        outcome.name,
        outcome.timeframe,
        passed=outcome.passed,
        severity=outcome.severity,
        summary=outcome.summary,
        detail=detail,
    )


async def evaluate(
    pipeline: Pipeline, timeframe: Timeframe, start: datetime, end: datetime
) -> tuple[list[CheckOutcome], datetime, datetime]:
    """Every check of one timeframe, the comparison with the venue included, and the span that was looked at."""
    start, end = pipeline.span_to_verify(timeframe, start, end)
    return await pipeline.verify(timeframe, start, end), start, end


def as_result(outcome: CheckOutcome, asset: str, shown: dict[str, Any]) -> dg.AssetCheckResult:
    """The outcome as Dagster's own."""
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=asset,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.WARN if outcome.severity == "warning" else dg.AssetCheckSeverity.ERROR,
        description=outcome.summary,
        metadata=shown,
    )


def as_evaluation(outcome: CheckOutcome, shown: dict[str, Any]) -> dg.AssetCheckEvaluation:
    """The outcome as an event that no step of a run reports."""
    result = as_result(outcome, f"ohlc_{outcome.timeframe}", shown)
    return dg.AssetCheckEvaluation(
        check_name=outcome.name,
        asset_key=dg.AssetKey(f"ohlc_{outcome.timeframe}"),
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def checked_span(context: dg.AssetCheckExecutionContext, store: Store) -> tuple[datetime, datetime]:
    """The partitions of the run, or all of history, up to the market's now, when the checks are run by themselves."""
    tags = context.run.tags
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return FIRST_DAY, store.clock.now()
    weekly = any(key.path[-1] == "ohlc_1w" for key in context.run.asset_selection or ())
    definition = WEEKLY if weekly else DAILY
    return definition.time_window_for_partition_key(first).start, definition.time_window_for_partition_key(last).end


BAR_CHECKS = [bar_checks(timeframe) for timeframe in Timeframe]
