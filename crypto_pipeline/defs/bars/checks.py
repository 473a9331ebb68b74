"""Checks of bars, the same six on every timeframe and one more on minutes, each with the offenders and a heatmap.

Dagster's sensors do not see a failed check that does not block. So every outcome also goes to `ops.check_results`, and
a failing one opens a row in `ops.alerts` that closes when it passes again.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import dagster as dg

from crypto_pipeline.defs.bars import metadata as bar_metadata
from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import checked_span, outcome_event, outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.healing import CheckOutcome, Deployment
from crypto_pipeline.healing.checks.stored_bars import checks_of
from crypto_pipeline.healing.comparison.agreement import NAME as AGREEMENT
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

# Only what no later step could repair may stop a run: bars that cannot be true.
_BLOCKING = {"ohlc_sanity", "no_future_bars"}


def bar_checks(timeframe: Timeframe, asset: str, name: str) -> dg.AssetChecksDefinition:
    """All checks of the bars of one width as one step called ``name``. They look at every instrument."""
    specs = [
        dg.AssetCheckSpec(check, asset=asset, description=text, blocking=check in _BLOCKING)
        for check, text in checks_of(timeframe).items()
    ]

    @dg.multi_asset_check(name=name, specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        outcomes, start, end = database.run(
            lambda deployment: evaluate(deployment, timeframe, *checked_span(context, deployment.store))
        )
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            for outcome in outcomes:
                record(store, outcome, None if outcome.name == AGREEMENT else (start, end))
                if outcome.name in selected:
                    yield outcome_result(outcome, asset, bar_metadata.check(store, outcome, start, end))

    return checks


def record(store: Store, outcome: CheckOutcome, span: tuple[datetime, datetime] | None = None) -> None:
    """Keep the outcome, and open or close its alert. A failure on a ``span`` is looked at again with that span; a
    dispute with the venue ends by another comparison, whatever span a run looks at."""
    detail: dict[str, Any] = {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
    if span is not None:
        detail |= {"start": span[0].isoformat(), "end": span[1].isoformat()}
    record_outcome(store, outcome, outcome.name, outcome.timeframe, detail)


async def evaluate(
    deployment: Deployment, timeframe: Timeframe, start: datetime, end: datetime
) -> tuple[list[CheckOutcome], datetime, datetime]:
    """Every check of one timeframe, the comparison with the venues included, and the span that was looked at."""
    start, end = deployment.first.span_to_verify(timeframe, start, end)
    return await deployment.verify(timeframe, start, end), start, end


def as_evaluation(outcome: CheckOutcome, shown: dict[str, Any]) -> dg.AssetCheckEvaluation:
    """The outcome as an event that no step of a run reports."""
    return outcome_event(outcome, dg.AssetKey(f"ohlc_{outcome.timeframe}"), shown)
