"""The label assets: what became of every setup, one asset per strategy, all parameter sets side by side.

A label is told when its horizon has ended, days after its signal; a bar that is healed makes the labels stale that rest
on it. Which days that is, data versions say; a sensor asks for those and no others.
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
from crypto_pipeline.features.stored.update import Universe, lacks_benchmark
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.checks import check_labels, checks_of, example_of
from crypto_pipeline.labels.stored.inputs import look_ahead, look_back
from crypto_pipeline.labels.stored.update import LabelReport, bring_up_to_date, due_cells, traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.ops.charts import labels as label_charts
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store

GROUP = "labels"
OWNERS = ["team:research"]
#: Days that are due and so near to each other are one run.
_ONE_RUN = timedelta(days=7)


def chosen_parameters(strategy: Strategy) -> dict[str, Parameters]:
    """Parameters of the strategy by the name of their set; sets that agree come once, under the first name."""
    found: dict[str, Parameters] = {}
    for name, chosen in parameter_sets(load_settings().label_parameters).items():
        if all(chosen[strategy].hash != other.hash for other in found.values()):
            found[name] = chosen[strategy]
    return found


def _reach(strategy: Strategy) -> tuple[int, int]:
    every = chosen_parameters(strategy).values()
    return max(map(look_back, every)), max(map(look_ahead, every))


def label_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """The asset ``strategy_<strategy>_labels``."""
    back, ahead = _reach(strategy)
    around = dg.TimeWindowPartitionMapping(
        start_offset=-back, end_offset=ahead, allow_nonexistent_upstream_partitions=True
    )
    bars = ["ohlc_15m", "ohlc_1m", *(["ohlc_1h"] if strategy.definition.uses_hours else [])]

    @dg.asset(
        name=f"strategy_{strategy}_labels",
        group_name=GROUP,
        owners=OWNERS,
        kinds={"postgres", "polars"},
        partitions_def=RESEARCH_DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetDep(name, partition_mapping=around) for name in bars],
        description=f"{strategy.definition.about} One row per setup whose horizon has ended: which barrier came first, "
        "returns, excursions, uniqueness weight. A day is the day of the signal.",
        metadata={
            "dagster/table_name": strategy.definition.table.name,
            "dagster/column_schema": _columns(strategy),
        },
        op_tags={"strategy": str(strategy)},
    )
    def labels(context: dg.AssetExecutionContext, database: Market, scope: Scope) -> dg.MaterializeResult[None]:
        window = context.partition_time_window
        start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
        every, benchmark = chosen_parameters(strategy), load_settings().feature_benchmark
        with database.store() as store:
            reports = {
                name: bring_up_to_date(store, strategy, parameters, start, end, scope.instruments, benchmark=benchmark)
                for name, parameters in every.items()
            }
            if strategy.definition.uses_benchmark and (
                lacking := lacks_benchmark(Universe.of(store, benchmark), benchmark)
            ):
                context.log.warning(lacking)
            hashes = [parameters.hash for parameters in every.values()]
            shown, own = _metadata(store, strategy, every, reports, metadata.by_partition(context))
            metadata.tell(context, own)
            return dg.MaterializeResult(
                metadata=shown,
                data_version=dg.DataVersion(store.labels.version(strategy, hashes, start, end)),
            )

    return labels


def _columns(strategy: Strategy) -> dg.TableSchema:
    table = strategy.definition.table
    columns = [dg.TableColumn(name, str(dtype), table.meanings[name]) for name, dtype in table.stored_schema.items()]
    keys = dg.TableConstraints(other=["one row per (instrument, signal_ts, params_hash)"])
    return dg.TableSchema(columns=columns, constraints=keys)


def _metadata(
    store: Store,
    strategy: Strategy,
    every: dict[str, Parameters],
    reports: dict[str, LabelReport],
    partitions: Mapping[str, tuple[datetime, datetime]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is the run's, and by key what is each partition's own; the last one has the pictures."""
    (start, _), *_, (_, end) = *partitions.values(), *partitions.values()
    run: dict[str, Any] = {
        "parameters": {name: parameters.hash for name, parameters in every.items()},
        "computed": metadata.table(pl.DataFrame([_counts(name, report) for name, report in reports.items()])),
    }
    if strategy.definition.uses_benchmark:
        run["benchmark"] = reports[next(iter(reports))].benchmark or "none: no setups"
    own: dict[str, dict[str, Any]] = {
        key: {"dagster/row_count": 0, "span": metadata.span_text(*window)} for key, window in partitions.items()
    }
    for name, parameters in every.items():
        suffix = "" if name == "default" else f"_{name}"
        labels = store.labels.read(strategy.definition.table, parameters.hash, start, end)
        cells = store.labels.cells(strategy, parameters.hash, start, end)
        for key, (first, _) in partitions.items():
            of_day = labels.filter(pl.col("signal_ts").dt.date() == first.date())
            figures = _of_day(of_day, cells.filter(pl.col("day") == first.date()))
            own[key]["dagster/row_count"] += of_day.height
            own[key] |= {f"{what}{suffix}": value for what, value in figures.items()}
        history = store.labels.read(strategy.definition.table, parameters.hash, HISTORY_DAY, end)
        drawn = pictures(store, strategy, history, of_day)
        own[key] |= {f"{what}{suffix}": value for what, value in drawn.items()}
    return run, own


def _of_day(labels: pl.DataFrame, cells: pl.DataFrame) -> dict[str, Any]:
    """Figures of one day of signals and one parameter set."""
    outcomes = dict(labels.group_by("outcome").len().iter_rows())
    found: dict[str, Any] = {
        "instruments": cells.height,
        "setups": int(cells["setups"].sum()),
        "labels": labels.height,
        "waiting": int(cells["waiting"].sum()),
        "take_profit": outcomes.get("TP", 0),
        "stop_loss": outcomes.get("SL", 0),
        "time": outcomes.get("TIME", 0),
    }
    mean = labels["net_return"].mean()
    return found | ({"mean_net_return": mean} if isinstance(mean, float) else {})


def _counts(name: str, report: LabelReport) -> dict[str, Any]:
    written = report.written
    return {
        "set": name,
        "instrument_days": report.cells,
        "new": report.new,
        "stale": report.stale,
        "waited": report.waited,
        "setups": report.setups,
        "labels": report.labels,
        "waiting": report.waiting,
        "inserted": written.inserted,
        "superseded": written.superseded,
        "withdrawn": written.withdrawn,
    }


def pictures(store: Store, strategy: Strategy, history: pl.DataFrame, day: pl.DataFrame) -> dict[str, Any]:
    """Outcomes by tier and month of all labels, and an example: of the day, or else the newest before it."""
    if history.is_empty():
        return {}
    shown: dict[str, Any] = {"outcomes": metadata.picture(label_charts.outcomes(history, str(strategy)), "outcomes")}
    row = example_of(day) or example_of(history)
    if row is not None:
        signal, end = row["signal_ts"], row["label_end_ts"]
        assert isinstance(signal, datetime)
        assert isinstance(end, datetime)
        instrument, width = str(row["instrument"]), TIMEFRAME.delta
        bars = store.reader.read([instrument], TIMEFRAME, signal - width * 100, end + width * 20)
        if bars.height:
            title = f"{instrument} {str(strategy).upper()}"
            shown["example"] = metadata.picture(label_charts.example(bars, width, row, title), "example setup")
    return shown


def label_checks(strategy: Strategy) -> dg.AssetChecksDefinition:
    """All checks of one strategy's labels as one step; every outcome also goes to the alerts."""
    asset = f"strategy_{strategy}_labels"
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in checks_of(strategy).items()]

    @dg.multi_asset_check(name=f"checks_{strategy}_labels", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: Market) -> Iterable[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            now = store.clock.now()
            start, end = checked_span(context, store)
            parameters = chosen_parameters(strategy)["default"]
            start, end = _with_failures(store, strategy, start, end)
            settings, history = load_settings(), (HISTORY_DAY, min(end, now))
            for outcome in check_labels(
                store, strategy, parameters, (start, end), history, now, settings.label_events,
                settings.feature_benchmark,
            ):  # fmt: skip
                record(store, outcome)
                if outcome.name in wanted:
                    yield _result(store, outcome, asset, parameters, end)

    return checks


def _with_failures(store: Store, strategy: Strategy, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The span with every day in it that was not current before: only a look at the same days takes that back."""
    detail = store.checks.failed_on(str(strategy)).get("labels_current", {})
    days = [datetime.fromisoformat(row["day"]).replace(tzinfo=UTC) for row in detail.get("offenders", [])]
    return min([start, *days]), max([end, *(day + timedelta(days=1) for day in days)])


def record(store: Store, outcome: CheckOutcome) -> None:
    """Keep a result where alerts come from: a failure opens one, a pass closes it."""
    store.checks.record_result(
        f"{outcome.name}:{outcome.subject}",
        TIMEFRAME,
        passed=outcome.passed,
        severity=outcome.severity,
        summary=outcome.summary,
        detail={} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)},
    )


def _result(
    store: Store, outcome: CheckOutcome, asset: str, parameters: Parameters, end: datetime
) -> dg.AssetCheckResult:
    shown: dict[str, Any] = {"summary": outcome.summary, "parameters": parameters.hash}
    shown["offending"] = 0 if outcome.passed else outcome.offenders.height
    if outcome.name == "too_few_events":
        shown["labels_by_instrument"] = metadata.table(outcome.offenders, most=200)
        strategy = Strategy(outcome.subject)
        history = store.labels.read(strategy.definition.table, parameters.hash, HISTORY_DAY, end)
        shown |= pictures(store, strategy, history, history)
    elif outcome.offenders.height and not outcome.passed:
        shown["offenders"] = metadata.table(outcome.offenders)
    return dg.AssetCheckResult(
        check_name=outcome.name,
        asset_key=asset,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.ERROR if outcome.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=outcome.summary,
        metadata=shown,
    )


LABEL_ASSETS = [label_asset(strategy) for strategy in Strategy]
LABEL_CHECKS = [label_checks(strategy) for strategy in Strategy]
label_setups = dg.define_asset_job(
    "label_setups",
    selection=dg.AssetSelection.assets(*LABEL_ASSETS),
    partitions_def=RESEARCH_DAILY,
    tags={"dagster/priority": str(MEDIUM)},
    description="Labels the setups of the chosen days whose horizon has ended, or whose bars changed.",
)


#: Without a run that changed bars, labels that are due are looked for so often.
_LOOK_EVERY = timedelta(minutes=5)


@dg.sensor(
    job=label_setups,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After each backfill, and every 5 minutes: writes labels that are due or whose bars have changed.",
)
def labels_due(context: dg.SensorEvaluationContext, database: Market) -> dg.SensorResult | dg.SkipReason:
    """Every 5 minutes, and after each backfill: labels whose horizon has ended or whose bars changed are computed.

    While history is being brought up to date it waits: what is computed then is stale a moment later.
    """
    now = datetime.now(UTC)
    if skipped := not_now(context, now, _LOOK_EVERY, (label_setups.name, backfill_bars.name)):
        return skipped
    with database.store() as store:
        market = store.clock.now()
        look = Look.begin(context, now, market)
        told: list[Any] = [*changed_bars(look, store)]
        due = days_due(store, market)
    for strategy in Strategy:
        asset, ahead = f"strategy_{strategy}_labels", _reach(strategy)[1]
        told += still_standing(look, asset, each_day(due), ahead)
    requests = []
    for first, last in due:
        start, end = _midnight(first), _midnight(last) + timedelta(days=1)
        requests.append(
            dg.RunRequest(
                run_key=f"labels:{first}:{last}:{now:%Y-%m-%dT%H:%M}",
                tags={"dagster/priority": str(MEDIUM), **range_tags(start, end)},
            )
        )
    said = None if requests else "no label is due"
    return dg.SensorResult(requests, skip_reason=said, cursor=now.isoformat(), asset_events=told)


def days_due(store: Store, now: datetime) -> list[tuple[date, date]]:
    """First and last day of every stretch in which a label of any strategy or set is due."""
    tiers, benchmark = traded(store), load_settings().feature_benchmark
    days: set[date] = set()
    for strategy in Strategy if tiers else ():
        for parameters in chosen_parameters(strategy).values():
            due = due_cells(store, strategy, parameters, HISTORY_DAY, now, tiers, now, benchmark=benchmark)
            days |= set(due["day"].unique().to_list())
    found = sorted(days)
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(found), 1) if b - a > _ONE_RUN), len(found)]
    return [(found[first], found[until - 1]) for first, until in pairwise(cuts) if until > first]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


LABEL_JOBS = [label_setups]
LABEL_SENSORS = [labels_due]
