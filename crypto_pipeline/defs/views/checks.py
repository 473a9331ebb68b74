"""Checks of the views: refreshed in time, and once a night row by row what the tables hold."""

from collections.abc import Iterable

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.views.refresh import TOO_OLD, freshness_result, view_result
from crypto_pipeline.store.views.views import VIEWS


def checks_of_view(name: str) -> dg.AssetChecksDefinition:
    """Both checks of one view."""
    specs = [
        dg.AssetCheckSpec("is_fresh", asset=name, description=f"Refreshed within the last {TOO_OLD[name]}."),
        dg.AssetCheckSpec(
            "equals_table",
            asset=name,
            description="Every row is what the table held when the view was refreshed, and none is absent.",
        ),
    ]

    @dg.multi_asset_check(name=f"checks_{name}", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            if "is_fresh" in selected:
                yield freshness_result(store, name)
            if "equals_table" in selected:
                wrong = store.views.differences(name)
                summary = "equal to the table up to the refresh" if wrong.is_empty() else (
                    f"{wrong.height:,} false rows, of {wrong['instrument'].n_unique()} instruments; first: "
                    f"{wrong['instrument'][0]} {wrong['timeframe'][0]} {wrong['open_time'][0]}: {wrong['fault'][0]}"
                )  # fmt: skip
                shown = {} if wrong.is_empty() else {"offenders": metadata.table(wrong)}
                yield view_result(store, name, "equals_table", wrong.is_empty(), summary, shown)

    return checks


view_checks = [checks_of_view(name) for name in VIEWS]
