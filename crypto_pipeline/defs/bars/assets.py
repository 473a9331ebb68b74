"""The assets of a bar source: its instruments, and their bars from 1m on, each width rolled up from the one below.

Each materialization reconciles the stored bars of its days to the desired state: it plans what is missing or stale,
fetches or rolls up only that, and costs almost nothing when there is nothing to do.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from crypto_pipeline.defs.bars import metadata as bar_metadata
from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.partitions import partitions
from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope
from crypto_pipeline.defs.base.runs import by_person
from crypto_pipeline.defs.base.subjects import BARS
from crypto_pipeline.healing import Deployment, HealReport
from crypto_pipeline.healing.passes import HISTORY, NAMED
from crypto_pipeline.healing.processors import measured
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.settings import Settings

_ABOUT = {
    Timeframe.M1: "One-minute bars as the venue states them: fetched where missing, every absent minute explained "
    "in the ledger (`market.gaps`).",
    Timeframe.W1: "Weekly bars, Monday 00:00 UTC, rolled up from daily bars.",
}
_ROLLED_UP = (
    "{} bars rolled up from {} bars in which something traded, equal to the venue's. Windows that begin before the "
    "collected history, or hold a lost minute, come from the venue in their own width."
)

# Rolling up again what changed below in the last week is worth doing by itself; older days are the gap monitors' work.
# A pass that found nothing to do leaves the data version as it was, and nothing follows.
_FOLLOW = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()).since_last_handled()
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.in_latest_time_window(lookback_delta=timedelta(days=7))
)


class LoggedProgress:
    """Progress as a line in the run's log for every tenth of the work, so that event logs stay small."""

    def __init__(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
        self._context = context
        self._shown: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Log each tenth of a stage once."""
        tenth = 10 * done // max(total, 1)
        if tenth > self._shown.get(stage, 0):
            self._shown[stage] = tenth
            self._context.log.info(f"{stage}: {done:,} of {total:,} bars")


def instruments_asset(
    name: str, venues: Sequence[dg.AssetKey], settings: Callable[[], Settings]
) -> dg.AssetsDefinition:
    """The asset of what the venue states of the active instruments."""

    @dg.asset(
        name=name,
        **BARS.arguments("market"),
        kinds={"postgres"},
        deps=list(venues),
        metadata={
            "dagster/table_name": "market.instruments",
            "dagster/column_schema": bar_metadata.INSTRUMENT_SCHEMA,
        },
        automation_condition=dg.AutomationCondition.on_cron("0 */6 * * *"),
        description="Active instruments with what the venue says of them: symbol, status, tick and lot size, listed "
        "and delisted.",
    )
    def instruments(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
        listings = database.run(lambda deployment: deployment.sync_instruments(), settings=settings())
        stated = listings.sort("instrument").write_csv().encode()
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": listings.height,
                "not_on_venue": int(listings["venue_symbol"].null_count()),
                "instruments": metadata.table(listings, most=200),
            },
            # Asking again changes nothing downstream; without this every day of bars would be "unsynced" after a run.
            data_version=dg.DataVersion(hashlib.sha256(stated).hexdigest()[:16]),
        )

    return instruments


def bar_asset(
    timeframe: Timeframe,
    name: str,
    deps: list[str],
    settings: Callable[[], Settings],
    chosen_instruments: list[str],
) -> dg.AssetsDefinition:
    """The asset of the bars of one width, rolled up from (or fetched after) ``deps``.

    ``chosen_instruments``: those of the source; empty for all active ones. The scope of a run narrows them further.
    """
    lower = LOWER.get(timeframe)

    @dg.asset(
        name=name,
        **BARS.arguments("market", timeframe=str(timeframe)),
        kinds={"postgres", "polars"},
        partitions_def=partitions().of(timeframe),
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=deps,
        description=_ABOUT.get(timeframe, _ROLLED_UP.format(timeframe, lower)),
        metadata={
            "dagster/table_name": "market.ohlc_data",
            "dagster/column_schema": bar_metadata.COLUMN_SCHEMA,
            "timeframe": str(timeframe),
        },
        automation_condition=_FOLLOW if lower else None,
        pool="venue_history" if timeframe is Timeframe.M1 else None,
        op_tags={"timeframe": str(timeframe)},
    )
    def bars(
        context: dg.AssetExecutionContext, database: MarketDatabase, scope: RunScope
    ) -> dg.MaterializeResult[None]:
        window = context.partition_time_window
        symbols = scope.instruments or chosen_instruments
        work = partial(bring_up_to_date, context, timeframe, window.start, window.end, symbols)
        report, found = database.run(work, settings=settings())
        lineage = bar_metadata.column_lineage(deps[0]) if lower else None
        return _result(context, database, timeframe, report, found, lineage)

    return bars


async def bring_up_to_date(
    context: dg.AssetExecutionContext,
    timeframe: Timeframe,
    start: datetime,
    end: datetime,
    symbols: list[str],
    deployment: Deployment,
) -> tuple[HealReport, list[str]]:
    """Bring the bars of ``[start, end)``, UTC, up to date; returns the report and the instruments it is of."""
    found, removed = deployment.collected(symbols)
    if removed:
        context.log.warning(f"{', '.join(removed)}: no longer collected, so left out of this run.")
    mode = NAMED if by_person(context.run.tags) else HISTORY
    fill = partial(
        deployment.bring_up_to_date, timeframe, start, end, found, progress=LoggedProgress(context), mode=mode
    )
    if timeframe is not Timeframe.M1:
        return await fill(), found
    # The minutes are where holes are found and filled: the processor's row says how it went.
    processor = context.run.tags.get("processor", "materialization")
    return await measured(deployment.store, processor, fill, context.run_id), found


def _result(
    context: dg.AssetExecutionContext,
    database: MarketDatabase,
    timeframe: Timeframe,
    report: HealReport,
    symbols: list[str],
    lineage: dg.TableColumnLineage | None,
) -> dg.MaterializeResult[None]:
    window = context.partition_time_window
    with database.store() as store:
        windows = metadata.by_partition(context)
        of_run, of_partitions = bar_metadata.materialization(store, timeframe, windows, report, symbols)
        if lineage is not None:  # shown of the newest materialization only, so that event logs stay small
            of_partitions[list(windows)[-1]]["dagster/column_lineage"] = lineage
        metadata.tell(context, of_partitions)
        version = store.coverage.version(timeframe, window.start, window.end)
    return dg.MaterializeResult(metadata=of_run, data_version=dg.DataVersion(version))
