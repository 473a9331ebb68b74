"""Checks of the account's books; every outcome also goes to the alerts."""

from collections.abc import Iterable

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import outcome_result, record_outcome
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.trading.account import EQUITY, SIGNALS, TRADES
from crypto_pipeline.trading.stored.accounts.checks import CHECKS, check_account
from crypto_pipeline.trading.stored.production import PAPER

#: The asset of each check.
ASSETS = {
    "books_balance": EQUITY,
    "takes_followed_up": SIGNALS,
    "broker_equals_label": TRADES,
    "positions_equal_venue": EQUITY,
}


@dg.multi_asset_check(
    name="checks_account",
    specs=[dg.AssetCheckSpec(name, asset=ASSETS[name], description=text) for name, text in CHECKS.items()],
    can_subset=True,
)
def checks(context: dg.AssetCheckExecutionContext, database: MarketDatabase) -> Iterable[dg.AssetCheckResult]:
    """Look through the books of the paper account."""
    selected = {key.name for key in context.selected_asset_check_keys}
    with database.store() as store:
        for name in (one for one in CHECKS if one in selected):
            outcome = check_account(store, name, PAPER)
            detail = {} if outcome.passed else {"offenders": metadata.plain_rows(outcome.offenders, most=100)}
            record_outcome(store, outcome, name, None, detail)
            shown = {"offenders": metadata.table(outcome.offenders)} if outcome.offenders.height else {}
            yield outcome_result(outcome, ASSETS[name], {**shown, **outcome.figures})
