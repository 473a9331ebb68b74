"""The asset ``ml_features``: what may be known of every instrument at the close of each 15m bar, and its checks.

Which days must be computed again is said by the data versions of the bars they rest on, look-back windows included; a
sensor asks for those and no others. Live rows are written by ingest, right after each close.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.changes import Look, changed_bars, not_now, still_standing
from crypto_pipeline.defs.checks import checked_span
from crypto_pipeline.defs.jobs import MEDIUM, backfill_bars
from crypto_pipeline.defs.partitions import HISTORY_DAY, RESEARCH_DAILY, each_day, range_tags
from crypto_pipeline.defs.resources import Market, Scope
from crypto_pipeline.features import drift
from crypto_pipeline.features.compute import FEATURES, LOOK_BACK, NAMES, schema_hash
from crypto_pipeline.features.stored.checks import CHECKS, Sample, verify_features
from crypto_pipeline.features.stored.live import KEPT
from crypto_pipeline.features.stored.update import (
    FeatureReport,
    Universe,
    bring_up_to_date,
    first_kept_day,
    lacks_benchmark,
    stale_days,
)
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.charts import features
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

GROUP = "features"
OWNERS = ["team:research"]
#: Stale days that are so near to each other are one run.
_ONE_RUN = timedelta(days=7)

_KEYS = [
    ("instrument_id", "integer", "Which instrument: market.instruments names it."),
    ("open_time", "timestamptz", "Start of the 15m bar, UTC."),
    ("available_at", "timestamptz", "Its close: the first moment at which the row may be used."),
    (
        "eligible",
        "boolean",
        "At most 5 % of the last 96 bars are missing, and something traded in at least half of them.",
    ),
    ("regime", "smallint", "Market: -2 CRASH, -1 BEAR, 0 NEUTRAL, 1 BULL."),
    ("stress", "smallint", "Market: -2 PANIC, -1 CAUTION, 0 CALM, 1 EUPHORIA."),
]
COLUMN_SCHEMA = dg.TableSchema(
    columns=[
        *(dg.TableColumn(name, kind, description=text) for name, kind, text in _KEYS),
        *(
            dg.TableColumn(
                one.name, "float8", description=f"{one.text} ({one.group}; {one.warm_up} {one.timeframe} bars)"
            )
            for one in FEATURES
        ),
    ],
    constraints=dg.TableConstraints(other=["one row per (instrument, open time)"]),
)


def _after(timeframe: Timeframe) -> dg.AssetDep:
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=-LOOK_BACK[timeframe], end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(f"ohlc_{timeframe}", partition_mapping=mapping)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "polars"},
    partitions_def=RESEARCH_DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[_after(timeframe) for timeframe in LOOK_BACK],
    metadata={"dagster/table_name": "research.ml_features", "dagster/column_schema": COLUMN_SCHEMA},
)
def ml_features(context: dg.AssetExecutionContext, database: Market, scope: Scope) -> dg.MaterializeResult[None]:
    """One row per instrument and closed 15m bar: returns, volatility, trend, volume, market, wider timeframes, regimes.

    Only days whose features were not computed from the bars that are stored now are computed, look-back included.
    """
    window = context.partition_time_window
    start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
    benchmark = load_settings().feature_benchmark
    with database.store() as store:
        report = bring_up_to_date(
            store, start, end, scope.instruments, benchmark=benchmark,
            progress=lambda stage, done, total: context.log.info(f"{stage}: {done} of {total} parts computed"),
        )  # fmt: skip
        if lacking := lacks_benchmark(Universe.of(store, benchmark), benchmark):
            context.log.warning(lacking)
        store.features.forget_live(store.clock.now() - KEPT)
        last = (end - timedelta(microseconds=1)).date()
        shown, own = _metadata(store, report, metadata.by_partition(context))
        metadata.tell(context, own)
        return dg.MaterializeResult(
            metadata=shown,
            data_version=dg.DataVersion(store.features.cells.version(start.date(), last)),
        )


def _metadata(
    store: Store, report: FeatureReport, partitions: Mapping[str, tuple[datetime, datetime]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is the run's, and by key what is each partition's own; the last one has the picture."""
    names = [row.instrument.symbol for row in store.instruments.list()]
    (start, _), *_, (_, end) = *partitions.values(), *partitions.values()
    cells = store.features.cells.read(names, start.date(), (end - timedelta(microseconds=1)).date())
    rows = store.features.read(names, start, end, ["open_time", "eligible"], hourly=True)
    eligible = dict(rows.group_by(pl.col("open_time").dt.date()).agg(pl.col("eligible").mean()).iter_rows())
    computed = (
        cells.join(report.computed, on=["instrument", "day"], how="semi") if report.stale_cells else cells.clear()
    )
    own = {}
    for key, (first, until) in partitions.items():
        of_day = pl.col("day") == first.date()
        stored, written = cells.filter(of_day), computed.filter(of_day)
        own[key] = {
            "dagster/row_count": int(stored["rows"].sum()),
            "span": metadata.span_text(first, until),
            "instruments": int(stored["instrument"].n_unique()),
            "instrument_days_computed": written.height,
            "rows_written": int(written["rows"].sum()),
        }
        if first.date() in eligible:
            own[key]["eligible_share"] = round(eligible[first.date()], 6)
    if cells.height:
        own[key] |= pictures(store, names, end)
    return {"benchmark": report.benchmark or "none", "schema_hash": schema_hash()}, own


def pictures(store: Store, names: list[str], end: datetime) -> dict[str, Any]:
    """How the features of the last week go together."""
    rows = store.features.read(names, end - timedelta(days=7), end, ["open_time", *NAMES], hourly=True)
    known, matrix = drift.correlation(rows)
    if len(known) < 2:
        return {}
    drawn = features.correlation_heatmap(known, matrix, f"correlation of features, {rows.height:,} rows of 7 days")
    return {"correlation": metadata.picture(drawn, "correlation of features")}


@dg.multi_asset_check(
    name="checks_ml_features",
    specs=[dg.AssetCheckSpec(name, asset="ml_features", description=text) for name, text in CHECKS.items()],
    can_subset=True,
)
def feature_checks(context: dg.AssetCheckExecutionContext, database: Market) -> Iterable[dg.AssetCheckResult]:
    """Every check of the features as one step; every outcome also goes to the alerts."""
    wanted = [key.name for key in context.selected_asset_check_keys]
    with database.store() as store:
        start, end = checked_span(context, store)
        benchmark = load_settings().feature_benchmark
        names = [name for name in CHECKS if name in wanted]
        earlier = {name: Sample.from_detail(detail) for name, detail in store.checks.failed_on("ml_features").items()}
        failed_on = {name: sample for name, sample in earlier.items() if sample is not None}
        for outcome in verify_features(store, start, end, benchmark=benchmark, names=names, failed_on=failed_on):
            record(store, outcome)
            yield _result(outcome)


def record(store: Store, outcome: CheckOutcome) -> None:
    """Keep the outcome; one that failed opens an alert."""
    store.checks.record_result(
        f"{outcome.name}:ml_features",
        Timeframe.M15,
        passed=outcome.passed,
        severity=outcome.severity,
        summary=outcome.summary,
        detail={} if outcome.passed else _failed_on(outcome),
    )


def _failed_on(outcome: CheckOutcome) -> dict[str, Any]:
    return {**outcome.detail, "offenders": metadata.plain_rows(outcome.offenders, most=100)}


def _result(outcome: CheckOutcome) -> dg.AssetCheckResult:
    shown: dict[str, Any] = {"summary": outcome.summary, "offending": outcome.offenders.height}
    if (sample := Sample.from_detail(outcome.detail)) is not None:
        shown["from"] = dg.MetadataValue.timestamp(sample.start)
        shown["to"] = dg.MetadataValue.timestamp(sample.end)
    if outcome.offenders.height and not outcome.passed:
        shown["offenders"] = metadata.table(outcome.offenders)
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key="ml_features",
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.ERROR if outcome.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=outcome.summary,
        metadata=shown,
    )


build_features = dg.define_asset_job(
    "build_features",
    selection=dg.AssetSelection.assets(ml_features),
    partitions_def=RESEARCH_DAILY,
    tags={"dagster/priority": str(MEDIUM)},
    description="Computes features of the chosen days that are missing or rest on bars that changed.",
)
#: Without a run that changed bars, stale days are looked for so often.
_LOOK_EVERY = timedelta(minutes=1)


@dg.sensor(
    job=build_features,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After each backfill, and every minute: computes features of days whose bars have changed since.",
)
def stale_features(context: dg.SensorEvaluationContext, database: Market) -> dg.SensorResult | dg.SkipReason:
    """Every minute, and after each backfill: days whose bars are not those their features were computed from.

    Look-back windows count. The running day, which the live path writes, is put right once an hour. While history is
    being brought up to date it waits: what is computed then is stale a moment later.
    """
    now = datetime.now(UTC)
    if skipped := not_now(context, now, _LOOK_EVERY, (build_features.name, backfill_bars.name)):
        return skipped
    with database.store() as store:
        market = store.clock.now()
        look = Look.begin(context, now, market)
        told: list[Any] = [*changed_bars(look, store)]
        days = days_due(store, market)
    told += still_standing(look, "ml_features", each_day(days))
    requests = []
    for first, last in days:
        start, end = _midnight(first), _midnight(last) + timedelta(days=1)
        # Today changes with every bar: the key lets it through once an hour.
        minute = f"{now:%Y-%m-%dT%H}" if first == market.date() else f"{now:%Y-%m-%dT%H:%M}"
        requests.append(
            dg.RunRequest(
                run_key=f"features:{first}:{last}:{minute}",
                tags={"dagster/priority": str(MEDIUM), "processor": "stale_features", **range_tags(start, end)},
            )
        )
    said = None if requests else "every day stands on the bars of now"
    return dg.SensorResult(requests, skip_reason=said, cursor=now.isoformat(), asset_events=told)


def days_due(store: Store, now: datetime) -> list[tuple[date, date]]:
    """First and last day of every stretch with stale features; today is a stretch of its own."""
    settings = load_settings()
    universe = Universe.of(store, settings.feature_benchmark)
    if not universe.instruments:
        return []
    # What retention took away is not asked for again.
    first = max(HISTORY_DAY.date(), first_kept_day(now, settings.keep_features_days))
    stale = stale_days(store, universe, universe.instruments, first, now.date())
    today = [(now.date(), now.date())] if stale.filter(pl.col("day") == now.date()).height else []
    found = stale.filter(pl.col("day") < now.date())["day"].unique().sort().to_list()
    cuts = [0, *(place for place, (a, b) in enumerate(pairwise(found), 1) if b - a > _ONE_RUN), len(found)]
    return [*((found[first], found[until - 1]) for first, until in pairwise(cuts) if until > first), *today]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


FEATURE_ASSETS = [ml_features]
FEATURE_CHECKS = [feature_checks]
FEATURE_JOBS = [build_features]
FEATURE_SENSORS = [stale_features]
