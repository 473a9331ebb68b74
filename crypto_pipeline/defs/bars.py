"""The bar assets: instruments → 1m → 5m → … → 1w, and the coverage of it all.

Each materialization reconciles the stored bars of its days to the desired state: it plans what is missing or stale,
fetches or rolls up only that, and costs almost nothing when there is nothing to do.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.partitions import DAILY, WEEKLY
from crypto_pipeline.defs.resources import Market, Scope
from crypto_pipeline.healing import HealReport, Pipeline
from crypto_pipeline.healing.passes import HISTORY, NAMED
from crypto_pipeline.healing.processors import measured
from crypto_pipeline.market.timeframes import LOWER, Timeframe

GROUP = "bars"
OWNERS = ["team:market-data"]
#: What the tag `processor` of a run says that no processor asked for.
BY_HAND = "backfill"

_ABOUT = {
    Timeframe.M1: "One-minute bars as the venue states them: fetched where missing, every absent minute explained "
    "in the ledger (`market.gaps`).",
    Timeframe.W1: "Weekly bars, Monday 00:00 UTC, rolled up from daily bars.",
}


# Rolling up again what changed below in the last week is worth doing by itself; older days are the gap monitors' work.
# A pass that found nothing to do leaves the data version as it was, and nothing follows.
_FOLLOW = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()).since_last_handled()
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.in_latest_time_window(lookback_delta=timedelta(days=7))
)


class Steps:
    """Progress as a line in the run's log for every tenth of the work, so that event logs stay small."""

    def __init__(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
        self._context = context
        self._shown: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Log each tenth once."""
        tenth = 10 * done // max(total, 1)
        if tenth > self._shown.get(stage, 0):
            self._shown[stage] = tenth
            self._context.log.info(f"{stage}: {done:,} of {total:,} bars")


def span_of(context: dg.AssetExecutionContext) -> tuple[datetime, datetime]:
    """``[start, end)`` of the partitions of this run, UTC."""
    window = context.partition_time_window
    return window.start, window.end


def by_person(tags: Mapping[str, str]) -> bool:
    """Whether a person launched the run: schedules, sensors and conditions say so in its tags, or in `processor`."""
    automatic = {"dagster/schedule_name", "dagster/sensor_name", "dagster/from_automation_condition"}
    return tags.get("processor", BY_HAND) == BY_HAND and not automatic & tags.keys()


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    metadata={"dagster/table_name": "market.instruments"},
    automation_condition=dg.AutomationCondition.on_cron("0 */6 * * *"),
)
def instruments(context: dg.AssetExecutionContext, database: Market) -> dg.MaterializeResult[None]:
    """Active instruments with what the venue says of them: symbol, status, tick and lot size, listed and delisted."""
    listings = database.run(lambda pipeline: pipeline.sync_instruments())
    stated = listings.sort("instrument").write_csv().encode()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": listings.height,
            "not_on_venue": int(listings["venue_symbol"].null_count()),
            "instruments": metadata.table(listings, most=200),
        },
        # Asking again changes nothing downstream; without this every day of bars would be "unsynced" after each run.
        data_version=dg.DataVersion(hashlib.sha256(stated).hexdigest()[:16]),
    )


def bar_asset(timeframe: Timeframe) -> dg.AssetsDefinition:
    """The asset ``ohlc_<timeframe>``."""
    lower = LOWER.get(timeframe)

    @dg.asset(
        name=f"ohlc_{timeframe}",
        group_name=GROUP,
        owners=OWNERS,
        kinds={"postgres", "polars"},
        partitions_def=WEEKLY if timeframe is Timeframe.W1 else DAILY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[f"ohlc_{lower}"] if lower else [instruments],
        description=_ABOUT.get(
            timeframe,
            f"{timeframe} bars rolled up from {lower} bars in which something traded, equal to the venue's. Windows "
            "that begin before the collected history, or hold a lost minute, come from the venue in their own width.",
        ),
        metadata={
            "dagster/table_name": "market.ohlc_data",
            "dagster/column_schema": metadata.COLUMN_SCHEMA,
            "timeframe": str(timeframe),
        },
        automation_condition=_FOLLOW if lower else None,
        pool="venue_history" if timeframe is Timeframe.M1 else None,
        op_tags={"timeframe": str(timeframe)},
    )
    def bars(context: dg.AssetExecutionContext, database: Market, scope: Scope) -> dg.MaterializeResult[None]:
        start, end = span_of(context)

        async def work(pipeline: Pipeline) -> tuple[HealReport, list[str]]:
            chosen, gone = pipeline.collected(scope.instruments)
            if gone:
                context.log.warning(f"{', '.join(gone)}: no longer collected, so left out of this run.")
            mode = NAMED if by_person(context.run.tags) else HISTORY
            bring = partial(
                pipeline.bring_up_to_date, timeframe, start, end, chosen, progress=Steps(context), mode=mode
            )
            if timeframe is not Timeframe.M1:
                return await bring(), chosen
            # The minutes are where holes are found and filled: the processor's row says how it went.
            processor = context.run.tags.get("processor", "materialization")
            return await measured(pipeline.store, processor, bring, context.run_id), chosen

        report, chosen = database.run(work)
        with database.store() as store:
            partitions = metadata.by_partition(context)
            shown, own = metadata.materialization(store, timeframe, partitions, report, chosen)
            metadata.tell(context, own)
            return dg.MaterializeResult(
                metadata=shown,
                data_version=dg.DataVersion(store.coverage.version(timeframe, start, end)),
            )

    return bars


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    # The days end with it: daily bars come after all that they are rolled up from.
    deps=[f"ohlc_{Timeframe.D1}"],
    metadata={"dagster/table_name": "market.coverage"},
)
def coverage(context: dg.AssetExecutionContext, database: Market) -> Iterator[dg.MaterializeResult[None]]:
    """Expected = present + explained, for every instrument, timeframe and day; with the ledger of holes beside it."""
    with database.store() as store:
        totals = store.coverage.summary()
        holes = store.ledger.open()
        first, last = store.coverage.span()
        shown: dict[str, Any] = {
            "dagster/row_count": int(totals["cells"].sum()),
            "totals": metadata.table(totals),
            "open_gaps": metadata.table(holes.drop("evidence"), most=100),
        }
        if first is not None and last is not None:
            for timeframe in (Timeframe.M1, Timeframe.H1):
                shown[f"coverage_{timeframe}"] = metadata.coverage_heatmap(store, timeframe, first, last)
        yield dg.MaterializeResult(metadata=shown)


BAR_ASSETS = [bar_asset(timeframe) for timeframe in Timeframe]
ASSETS = [instruments, *BAR_ASSETS, coverage]
