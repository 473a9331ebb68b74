"""The asset ``ml_features``: what may be known of every instrument at the close of each 15m bar, and its job.

Only days whose features were not computed from the stored bars, look-back included, are computed. Live rows are written
by ingest, right after each close.
"""

from datetime import UTC, timedelta

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, tags
from crypto_pipeline.defs.base.subjects import FEATURES
from crypto_pipeline.defs.features.metadata import COLUMN_SCHEMA, materialization
from crypto_pipeline.features.compute import LOOK_BACK
from crypto_pipeline.features.stored.live import KEPT
from crypto_pipeline.features.stored.update import Universe, bring_up_to_date, lacks_benchmark
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import load_settings

ASSET = "ml_features"
JOB = "build_features"


@dg.definitions
def features() -> dg.Definitions:
    """The asset and its job, over the days that have bars."""
    about = "Computes features of the chosen days that are missing or rest on bars that changed."
    job = asset_job(JOB, [ASSET], tags(MEDIUM), about, partitions_def=partitions().research)
    return dg.Definitions(assets=[features_asset()], jobs=[job])


def _after(timeframe: Timeframe) -> dg.AssetDep:
    """The bars of one width, as far back as features of a day look."""
    mapping = dg.TimeWindowPartitionMapping(
        start_offset=-LOOK_BACK[timeframe], end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return dg.AssetDep(f"ohlc_{timeframe}", partition_mapping=mapping)


def features_asset() -> dg.AssetsDefinition:
    """The asset ``ml_features``."""

    @dg.asset(
        **FEATURES.arguments("research"),
        kinds={"postgres", "polars"},
        partitions_def=partitions().research,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[_after(timeframe) for timeframe in LOOK_BACK],
        metadata={"dagster/table_name": f"research.{ASSET}", "dagster/column_schema": COLUMN_SCHEMA},
    )
    def ml_features(
        context: dg.AssetExecutionContext, database: MarketDatabase, scope: RunScope
    ) -> dg.MaterializeResult[None]:
        """One row per instrument and closed 15m bar: returns, volatility, trend, volume, market, wider timeframes,
        regimes.

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
            if lacking := lacks_benchmark(Universe.from_store(store, benchmark), benchmark):
                context.log.warning(lacking)
            store.features.forget_live(store.clock.now() - KEPT)
            last = (end - timedelta(microseconds=1)).date()
            of_run, of_partitions = materialization(store, report, metadata.by_partition(context))
            metadata.tell(context, of_partitions)
            return dg.MaterializeResult(
                metadata=of_run,
                data_version=dg.DataVersion(store.features.cells.version(start.date(), last)),
            )

    return ml_features
