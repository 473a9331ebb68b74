"""The label assets: what became of every setup, one asset per strategy, all parameter sets side by side.

A label is written when its horizon has ended, days after its signal. A bar that is healed makes the labels stale that
rest on it; the sensor ``labels_due`` asks for those days and no others.
"""

from datetime import UTC

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, tags
from crypto_pipeline.defs.base.subjects import LABELS
from crypto_pipeline.defs.labels.metadata import column_schema, materialization
from crypto_pipeline.defs.labels.strategy_assets import asset_name, chosen_parameters, reach
from crypto_pipeline.features.stored.update import Universe, lacks_benchmark
from crypto_pipeline.labels.stored.update import bring_sets_up_to_date
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import load_settings

JOB = "label_setups"


@dg.definitions
def labels() -> dg.Definitions:
    """One asset for each strategy and the job of all, over the days that have bars."""
    about = "Labels the setups of the chosen days whose horizon has ended, or whose bars changed."
    names = [asset_name(strategy) for strategy in Strategy]
    job = asset_job(JOB, names, tags(MEDIUM), about, partitions_def=partitions().research)
    return dg.Definitions(assets=[label_asset(strategy) for strategy in Strategy], jobs=[job])


def _after(strategy: Strategy) -> list[dg.AssetDep]:
    """The bars that the labels of a day rest on, as far back and ahead as they look."""
    back, ahead = reach(strategy)
    around = dg.TimeWindowPartitionMapping(
        start_offset=-back, end_offset=ahead, allow_nonexistent_upstream_partitions=True
    )
    names = ["ohlc_15m", "ohlc_1m", *(["ohlc_1h"] if strategy.definition.uses_hours else [])]
    return [dg.AssetDep(name, partition_mapping=around) for name in names]


def label_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """The asset ``strategy_<strategy>_labels``."""
    name = asset_name(strategy)

    @dg.asset(
        name=name,
        **LABELS.arguments("research", strategy=str(strategy)),
        kinds={"postgres", "polars"},
        partitions_def=partitions().research,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=_after(strategy),
        description=f"{strategy.definition.about} One row per setup whose horizon has ended: which barrier came first, "
        "returns, excursions, uniqueness weight. A day is the day of the signal.",
        metadata={
            "dagster/table_name": strategy.definition.table.name,
            "dagster/column_schema": column_schema(strategy),
        },
        op_tags={"strategy": str(strategy)},
    )
    def labels(
        context: dg.AssetExecutionContext, database: MarketDatabase, scope: RunScope
    ) -> dg.MaterializeResult[None]:
        return update(context, database, scope, strategy)

    return labels


def update(
    context: dg.AssetExecutionContext, database: MarketDatabase, scope: RunScope, strategy: Strategy
) -> dg.MaterializeResult[None]:
    """Bring the labels of a run's days up to date, for every parameter set."""
    window = context.partition_time_window
    start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
    sets, benchmark = chosen_parameters(strategy), load_settings().feature_benchmark
    with database.store() as store:
        reports = bring_sets_up_to_date(store, strategy, sets, start, end, scope.instruments, benchmark=benchmark)
        if strategy.definition.uses_benchmark and (
            lacking := lacks_benchmark(Universe.from_store(store, benchmark), benchmark)
        ):
            context.log.warning(lacking)
        hashes = [parameters.hash for parameters in sets.values()]
        of_run, of_partitions = materialization(store, strategy, sets, reports, metadata.by_partition(context))
        metadata.tell(context, of_partitions)
        return dg.MaterializeResult(
            metadata=of_run,
            data_version=dg.DataVersion(store.labels.version(strategy, hashes, start, end)),
        )
