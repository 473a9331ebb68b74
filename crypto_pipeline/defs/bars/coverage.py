"""The asset ``coverage``: what is expected, present and explained, with the ledger of gaps."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.bars import metadata as bar_metadata
from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.subjects import BARS
from crypto_pipeline.market.timeframes import Timeframe


@dg.asset(
    **BARS.arguments("market"),
    kinds={"postgres"},
    # The days end with it: daily bars come after all that they are rolled up from.
    deps=[f"ohlc_{Timeframe.D1}"],
    # The recent processor materializes it every 5 minutes.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1), warn_window=timedelta(minutes=30)),
    metadata={"dagster/table_name": "market.coverage", "dagster/column_schema": bar_metadata.COVERAGE_SCHEMA},
)
def coverage(context: dg.AssetExecutionContext, database: MarketDatabase) -> Iterator[dg.MaterializeResult[None]]:
    """Expected = present + explained, for every instrument, timeframe and day; with the ledger of gaps beside it."""
    with database.store() as store:
        totals = store.coverage.summary()
        gaps = store.ledger.open()
        first, last = store.coverage.span()
        shown: dict[str, Any] = {
            "dagster/row_count": int(totals["cells"].sum()),
            "totals": metadata.table(totals),
            "open_gaps": metadata.table(gaps.drop("evidence"), most=100),
        }
        if first is not None and last is not None:
            for timeframe in (Timeframe.M1, Timeframe.H1):
                shown[f"coverage_{timeframe}"] = bar_metadata.coverage_heatmap(store, timeframe, first, last)
        yield dg.MaterializeResult(metadata=shown)
