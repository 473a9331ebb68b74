"""The checks of a venue: whether it answers, and whether its series are as new as they should be."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_event, outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, tags
from crypto_pipeline.defs.base.subjects import venue_key
from crypto_pipeline.healing import CheckOutcome
from crypto_pipeline.healing.checks.sources import CHECKS, check_source
from crypto_pipeline.healing.macro.source import check_fred
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store


def look_at(venue: str, database: MarketDatabase) -> list[CheckOutcome]:
    """The outcomes of the checks of ``venue``."""
    return database.run_at(venue, check_source, live=True)


def look_at_fred(database: MarketDatabase) -> list[CheckOutcome]:
    """The outcomes of the checks of FRED."""
    with database.store() as store:
        return asyncio.run(check_fred(store, load_settings()))


def source_checks(venue: str, look: Callable[[MarketDatabase], list[CheckOutcome]]) -> dg.AssetChecksDefinition:
    """The checks of ``venue``, whose outcomes ``look`` gives, as one step."""
    asset = venue_key(venue)

    @dg.multi_asset_check(
        name=f"checks_{venue}",
        specs=[dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in CHECKS.items()],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
        outcomes = look(database)
        selected = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            for one in outcomes:
                record_source(store, one)
                if one.name in selected:
                    yield source_result(one)

    return checks


def source_result(outcome: CheckOutcome) -> dg.AssetCheckResult:
    """The outcome of a check of a venue as Dagster shows it."""
    return outcome_result(outcome, venue_key(outcome.subject), _shown(outcome))


def source_event(outcome: CheckOutcome) -> dg.AssetCheckEvaluation:
    """The outcome of a check of a venue as an event that no step of a run reports."""
    return outcome_event(outcome, venue_key(outcome.subject), _shown(outcome))


def _shown(outcome: CheckOutcome) -> dict[str, Any]:
    offenders = {"offenders": metadata.table(outcome.offenders)} if outcome.offenders.height else {}
    return {**outcome.figures, **offenders}


def record_source(store: Store, outcome: CheckOutcome) -> None:
    """Keep the outcome as the newest result of `connection:<venue>`, and open or close its alert. Raises StoreError.

    Not that of freshness: the check of each width of bars keeps it already, and a person should read of it once.
    """
    if outcome.name == "freshness":
        return
    detail = {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
    record_outcome(store, outcome, f"{outcome.name}:{outcome.subject}", None, detail)


def check_job(venue: str) -> Any:
    """The job that runs the checks of ``venue``."""
    return dg.define_asset_job(
        f"check_{venue}",
        selection=dg.AssetSelection.checks_for_assets(venue_key(venue)),
        tags={**tags(HIGH), "source": venue},
        description=f"Checks whether {venue} answers, and whether its series are fresh.",
    )
