"""The bars inside a Dagster deployment that you have already.

    pip install 'crypto-pipeline[server]'
    CRYPTO_PIPELINE_DATABASE_URL=postgresql://… dagster dev -f existing_dagster.py
    CRYPTO_PIPELINE_DATABASE_URL=… dagster asset materialize -f existing_dagster.py --select daily_range --partition DAY

`daily_range` is an asset of yours that depends on the bars: it is computed after a day of `ohlc_1d` was materialized,
for that day. Merge your own definitions with those of crypto_pipeline, as here, where one code location is enough; or
leave crypto_pipeline a code location of its own (`workspace.yaml` of the project has the entry) and only name its
assets in `deps`: then this module needs no more than `AssetSpec("ohlc_1d")`.
"""

import dagster as dg
import polars as pl

import crypto_pipeline
from crypto_pipeline import definitions

BARS = dg.AssetKey("ohlc_1d")
days = definitions.defs().get_assets_def(BARS).partitions_def


@dg.asset(
    deps=[BARS],
    partitions_def=days,
    automation_condition=dg.AutomationCondition.eager(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="mine",
    kinds={"polars"},
)
def daily_range(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """High minus low of each instrument and day, relative to the open."""
    span = context.partition_time_window
    bars = crypto_pipeline.bars(instruments(), "1d", start=span.start, end=span.end)
    ranges = bars.select("instrument", "open_time", ((pl.col("high") - pl.col("low")) / pl.col("open")).alias("range"))
    ranges.write_parquet(f"daily_range_{span.start:%Y-%m-%d}.parquet")
    return dg.MaterializeResult(metadata={"rows": ranges.height, "widest": ranges["range"].max() or 0.0})


def instruments() -> list[str]:
    """Names of everything that is collected."""
    return crypto_pipeline.instruments()["instrument"].to_list()


@dg.definitions
def defs() -> dg.Definitions:
    """Those of crypto_pipeline, and yours."""
    return dg.Definitions.merge(definitions.defs(), dg.Definitions(assets=[daily_range]))
