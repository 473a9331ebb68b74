"""The mirror of bars in ClickHouse as an asset, and a check that compares it with the table every night."""

from datetime import timedelta

import dagster as dg

from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, tags, unless_running
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.housekeeping import clickhouse
from crypto_pipeline.settings import load_settings


@dg.asset(
    **OPERATIONS.arguments(),
    kinds={"clickhouse"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2), warn_window=timedelta(hours=1)),
)
def clickhouse_mirror(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """All bars in ClickHouse, for scans over many instruments and years; PostgreSQL stays the truth.

    A run brings those coverage cells whose data version is another one, and takes away bars that left. It may be killed
    and run again at any moment, and the mirror may be dropped: the next run fills it. Without the setting
    clickhouse_url there is none.
    """
    address = clickhouse.mirror_address(load_settings())
    if address is None:
        return dg.MaterializeResult(metadata={"state": clickhouse.NOT_WANTED})
    with database.store() as store:
        done, figures = clickhouse.follow_in_clickhouse(store, address, context.log.info)
    return dg.MaterializeResult(
        metadata={
            "mirror": address.shown,
            "cells": done.cells,
            "cells_by_timeframe": dg.MetadataValue.json(done.by_timeframe),
            "bars_read": done.bars_read,
            "copies_sent": done.copies_sent,
            "bars_removed": done.bars_removed,
            "compared_all": done.compared_all,
            "dagster/row_count": figures["rows"],
            "bytes": figures["bytes"],
            "parts": figures["parts"],
        }
    )


@dg.asset_check(
    asset="clickhouse_mirror",
    name=clickhouse.CLICKHOUSE_CHECK,
    description="The mirror in ClickHouse has the bars of the table to the last digit: about a million of them, in "
    "months of instruments chosen at random. What differs is brought again by the next run.",
)
def equals_table(database: MarketDatabase) -> dg.AssetCheckResult:
    """A mirror that somebody wrote to, or that lost a part, is found here."""
    with database.store() as store:
        found = clickhouse.compare_with_clickhouse(store, load_settings())
    name, asset = clickhouse.CLICKHOUSE_CHECK, "clickhouse_mirror"
    if found is None:
        return check_result(name, asset, passed=True, severity="error", summary=clickhouse.NOT_WANTED)
    metadata = {"bars": found.bars, "cells": found.cells, "waiting": found.waiting}
    shown = metadata | {"differences": dg.MetadataValue.json(found.differences)}
    summary = clickhouse.comparison_text(found)
    return check_result(name, asset, passed=not found.differences, severity="error", summary=summary, metadata=shown)


follow_in_clickhouse = dg.define_asset_job(
    "follow_in_clickhouse",
    selection=dg.AssetSelection.assets(clickhouse_mirror).without_checks(),
    tags=tags(LOW, "clickhouse"),
    description="Brings the mirror in ClickHouse to the bars of now.",
)
compare_with_clickhouse = dg.define_asset_job(
    "compare_with_clickhouse",
    selection=dg.AssetSelection.checks(equals_table),
    tags=tags(LOW, "clickhouse"),
    description="Compares a part of the mirror in ClickHouse with the table, bar by bar.",
)


@unless_running(
    follow_in_clickhouse,
    "9-59/15 * * * *",
    "Every 15 minutes, where a mirror in ClickHouse is wanted: brings it to the bars of now.",
)
def clickhouse_every_quarter(context: dg.ScheduleEvaluationContext) -> str | None:
    """Ask for a run if there is a mirror."""
    return _not_wanted()


@unless_running(
    compare_with_clickhouse,
    "20 4 * * *",
    "Every night, where a mirror in ClickHouse is wanted: compares a part of it with the table.",
)
def clickhouse_every_night(context: dg.ScheduleEvaluationContext) -> str | None:
    """Ask for a comparison if there is a mirror."""
    return _not_wanted()


def _not_wanted() -> str | None:
    return clickhouse.NOT_WANTED if clickhouse.mirror_address(load_settings()) is None else None
