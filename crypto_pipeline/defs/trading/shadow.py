"""The asset ``shadow_report`` with its check: variants that trade beside production, and what a test says of them.

A recommendation is stored and shown, never followed: a person applies it.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, schedule, tags
from crypto_pipeline.defs.base.subjects import TRADING
from crypto_pipeline.ops.charts import shadow as charts
from crypto_pipeline.settings import load_settings
from crypto_pipeline.trading.shadow.variants import CHAMPION
from crypto_pipeline.trading.stored.shadow.shadow_pass import ShadowReport, shadow_pass
from crypto_pipeline.trading.stored.shadow.shown import CHECKS, champion_check, comparison_rows, test_words

SHADOW_REPORT = "shadow_report"

COLUMNS = metadata.table_schema(
    metadata.columns(
        """
        variation        text    CHAMPION is production.
        parameters_hash  text    Of the trading parameters: trading.shadow_variations.
        strategy         text    Whose signals.
        day              date    UTC.
        net              float8  Net of costs, marked to market, as a fraction of the equity at the begin of the day.
        trades           int     Trades that ended.
        """
    ),
    "(variation, parameters_hash, strategy, day)",
)


@dg.multi_asset(
    name=SHADOW_REPORT,
    specs=[
        dg.AssetSpec(
            SHADOW_REPORT,
            **TRADING.arguments("trading"),
            kinds={"postgres", "polars"},
            deps=["signals", "ohlc_15m"],
            description="Variants that trade the signals of production beside it, each in a ledger of its own, with "
            "their differences to production and intervals. Once in 28 days a test says whether a change is "
            "recommended; a person applies it: `crypto-pipeline shadow apply`.",
            metadata={"dagster/table_name": "trading.shadow_outcomes", "dagster/column_schema": COLUMNS},
            freshness_policy=dg.FreshnessPolicy.time_window(
                fail_window=timedelta(hours=54), warn_window=timedelta(hours=30)
            ),
        )
    ],
    check_specs=[dg.AssetCheckSpec(name, asset=SHADOW_REPORT, description=text) for name, text in CHECKS.items()],
)
def shadow_report(
    context: dg.AssetExecutionContext, database: MarketDatabase
) -> Iterable[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Trade all variants up to now, store their ledgers, and test them where that is due."""
    with database.store() as store:
        report = shadow_pass(store, load_settings())
        context.log.info(report.because or test_words(report.test))
        yield dg.MaterializeResult(asset_key=SHADOW_REPORT, metadata=_shown(report))
        outcome = champion_check(report.agreement)
        detail = {} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
        record_outcome(store, outcome, outcome.name, None, detail)
        shown = {"offenders": metadata.table(outcome.offenders)} if outcome.offenders.height else {}
        yield outcome_result(outcome, SHADOW_REPORT, shown)


def _shown(report: ShadowReport) -> dict[str, Any]:
    if report.compared is None or report.outcomes is None or report.days is None:
        return {"dagster/row_count": 0, "because": report.because}
    rows = comparison_rows(report.compared)
    first, last = report.days
    span = f"{first} to {last}"
    return {
        "dagster/row_count": report.outcomes.height,
        "days": span,
        "newest_test": test_words(report.test),
        "no_test_now": report.untested or "a test was made",
        "next_test": "as soon as there is enough" if report.next_test is None else f"{report.next_test:%Y-%m-%d}",
        "variants": metadata.table(rows),
        "earned": metadata.picture(
            charts.earned(report.outcomes, CHAMPION, f"All strategies, {span}"), "Net results of variants over time"
        ),
        "differences": metadata.picture(
            charts.differences(rows, f"Differences to production with 95 % intervals, {span}"),
            "Differences of variants to production with intervals",
        ),
    }


compare_variants = asset_job(
    "compare_variants",
    [SHADOW_REPORT],
    tags(LOW),
    "Trades shadow variants beside production, compares them, and tests them once in 28 days.",
)
schedules = [
    schedule("shadow_daily", compare_variants, "50 1 * * *", "Every night: compares shadow variants with production.")
]
