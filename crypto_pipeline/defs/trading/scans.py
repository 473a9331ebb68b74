"""The asset ``scan_history`` with its checks: every closed bar as each strategy judged it.

Scans are made in the program that keeps features, right after each bar. What it could not do is made good here, by the
same function.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, schedule, tags
from crypto_pipeline.defs.base.subjects import TRADING
from crypto_pipeline.ops.charts import scans as charts
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.scans import ScanReport, scan_pass
from crypto_pipeline.trading.stored.scans.checks import CHECKS, check_scans
from crypto_pipeline.trading.stored.scans.summary import conditions_in_the_way, scans_by_day

SCAN_HISTORY = "scan_history"
#: Days that are drawn and counted.
_SHOWN = timedelta(days=30)

COLUMNS = metadata.table_schema(
    metadata.columns(
        """
        signal_ts         timestamptz  Open of the bar.
        instrument_id     int          Of market.instruments.
        strategy          text         Whose setup was looked for.
        decision          text         TAKE, SKIP or NEAR_MISS: exactly one condition is not met.
        reason            text         setup; the condition of a NEAR_MISS; conditions, warm_up or bar_missing.
        failed            int          Bit i is set where condition i is not met.
        values            float8[]     What the conditions compare, in the order of trading.scan_conditions.
        condition_set     int2         The conditions and their thresholds: trading.scan_conditions.
        market_regime     int2         -2 crash, -1 bear, 0 neutral, 1 bull.
        stress            int2         -2 panic, -1 caution, 0 calm, 1 euphoria.
        confidence_score  real         1 where every condition is met, less by how far the others are from it.
        metadata          json         Of a TAKE: all measures of the setup.
        scanned_at        timestamptz  When it was stored.
        """
    ),
    "(instrument, signal_ts, strategy)",
)


@dg.asset(
    name=SCAN_HISTORY,
    **TRADING.arguments("trading"),
    kinds={"postgres", "polars"},
    deps=["ohlc_15m", "ohlc_1h"],
    description="Every closed 15m bar as each strategy judged it: TAKE, SKIP or NEAR_MISS, with the value of every "
    "condition. The view trading.scans has them condition by condition, `crypto-pipeline why SYMBOL` says it in words.",
    metadata={"dagster/table_name": "trading.scan_history", "dagster/column_schema": COLUMNS},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(hours=2)),
)
def scan_history(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Scan bars that were not scanned as they closed, and count the days that are over."""
    with database.store() as store:
        now = store.clock.now()
        report = scan_pass(store, load_settings(), now)
        if report.start is not None:
            context.log.info(f"{report.scans} scans were not made as their bars closed, from {report.start} on")
        counted = store.trading.scans.summarise()
        context.log.info(f"days counted: {', '.join(map(str, counted)) or 'none'}")
        if report.until is None:
            context.log.info("scanning begins when what is collected is complete")
            return dg.MaterializeResult(metadata={"dagster/row_count": 0})
        return dg.MaterializeResult(metadata=_shown(store, report, report.until))


def _shown(store: Store, report: ScanReport, until: datetime) -> dict[str, Any]:
    start = until - _SHOWN
    days, in_the_way = scans_by_day(store, start, until), conditions_in_the_way(store, until)
    newest = sorted(store.trading.scans.newest_takes().items())
    chart = charts.scans(days, in_the_way, "Setups and near misses by day; conditions that are not met")
    return {
        "dagster/row_count": int(days["scans"].sum()),
        "made_now": report.scans,
        "span": metadata.span_text(start, until),
        "newest_setups": ", ".join(f"{strategy} {at:%Y-%m-%d %H:%M} UTC" for strategy, at in newest) or "none",
        "days": metadata.table(days.sort("day", "strategy", descending=[True, False])),
        "in_the_way": metadata.table(in_the_way),
        "scans": metadata.picture(chart, "Setups and near misses by day, and conditions that are not met"),
    }


@dg.multi_asset_check(
    name="checks_scan_history",
    specs=[dg.AssetCheckSpec(name, asset=SCAN_HISTORY, description=text) for name, text in CHECKS.items()],
    can_subset=True,
)
def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
    """Look for bars without scans, and for silences that are too long to be chance."""
    selected = {key.name for key in context.selected_asset_check_keys}
    with database.store() as store:
        for outcome in check_scans(store, store.clock.now()):
            detail = {} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
            record_outcome(store, outcome, outcome.name, None, detail)
            if outcome.name in selected:
                shown = {"offenders": metadata.table(outcome.offenders)} if outcome.offenders.height else {}
                yield outcome_result(outcome, SCAN_HISTORY, shown)


scan_bars = asset_job(
    "scan_bars",
    [SCAN_HISTORY],
    tags(MEDIUM),
    "Scans closed bars that have no scans yet, and counts days that are over.",
)
schedules = [
    schedule(
        "scans_hourly", scan_bars, "12 * * * *", "Every hour: scans bars that were not scanned live, and checks scans."
    )
]
