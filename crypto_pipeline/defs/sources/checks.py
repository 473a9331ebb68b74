"""The checks of a venue: whether it answers, and whether its series are as new as they should be."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, tags
from crypto_pipeline.defs.base.subjects import venue_key
from crypto_pipeline.healing.checks.sources import CHECKS, check_source, record_source


def source_checks(venue: str) -> dg.AssetChecksDefinition:
    """The checks of ``venue`` as one step."""
    asset = venue_key(venue)

    @dg.multi_asset_check(
        name=f"checks_{venue}",
        specs=[dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in CHECKS.items()],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        outcomes = database.run_at(venue, check_source, live=True)
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            for one in outcomes:
                record_source(store, one)
                if one.name in selected:
                    shown: dict[str, Any] = dict(one.figures)
                    if one.offenders.height:
                        shown["offenders"] = metadata.table(one.offenders)
                    yield check_result(
                        one.name, asset, passed=one.passed, severity=one.severity, summary=one.summary, metadata=shown
                    )

    return checks


def check_job(venue: str) -> Any:
    """The job that runs the checks of ``venue``."""
    return dg.define_asset_job(
        f"check_{venue}",
        selection=dg.AssetSelection.checks_for_assets(venue_key(venue)),
        tags={**tags(HIGH), "source": venue},
        description=f"Checks whether {venue} answers, and whether its series are fresh.",
    )
