"""What people see of shadow variants: the report from stored ledgers, its rows, and the check of CHAMPION."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.shadow import ShadowTest
from crypto_pipeline.trading.shadow.comparison import VariantComparison
from crypto_pipeline.trading.shadow.variants import VARIANTS
from crypto_pipeline.trading.stored.production import PAPER, account_parameters
from crypto_pipeline.trading.stored.shadow.agreement import ChampionAgreement
from crypto_pipeline.trading.stored.shadow.shadow_pass import ShadowReport, compared_report

CHAMPION_CHECK = "champion_is_production"
CHECKS = {CHAMPION_CHECK: "The shadow ledger of CHAMPION is that of production in every field of every row."}


def stored_report(store: Store, settings: Settings) -> ShadowReport:
    """The report from the ledgers that the last pass stored; nothing is traded. Raises StoreError."""
    account = store.trading.ledger.account(PAPER)
    if account is None:
        return ShadowReport("the paper account has not begun: no bar has been scanned yet")
    champion = account_parameters(store, settings, account)
    hashes = {name: variant.parameters(champion).hash for name, variant in VARIANTS.items()}
    outcomes = store.trading.shadow.outcomes(hashes)
    return compared_report(store, outcomes)


def report_dict(store: Store, report: ShadowReport) -> dict[str, Any]:
    """A report for programs, as a dict for JSON; days and times stay what they are. Raises StoreError."""
    return {
        "because": report.because or None, "days": report.days,
        "variants": comparison_rows(report.compared or {}).to_dicts(),
        "test": None if report.test is None else asdict(report.test), "next_test": report.next_test,
        "in_force": [asdict(each) for each in store.trading.shadow.in_force().values()],
        "declares": {name: each.declares for name, each in VARIANTS.items()},
    }  # fmt: skip


def comparison_rows(compared: Mapping[str, Sequence[VariantComparison]]) -> pl.DataFrame:
    """A row per strategy and variant: figures in percent of the capital, ``difference`` to production a day with its
    95 % interval, and ``because``: why it cannot be recommended (empty: it can).
    """
    rows = [
        {
            "strategy": strategy, "variant": each.variant, "days": each.days, "trades": each.trades,
            "net": 100 * each.net, "drawdown": 100 * each.drawdown, "difference": 100 * each.difference,
            "low": 100 * each.low, "high": 100 * each.high, "p": each.p_value, "because": "; ".join(each.reasons),
        }
        for strategy, variants in compared.items()
        for each in variants
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA)


_SCHEMA: dict[str, Any] = {
    "strategy": pl.String, "variant": pl.String, "days": pl.Int64, "trades": pl.Int64, "net": pl.Float64,
    "drawdown": pl.Float64, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64,
    "because": pl.String,
}  # fmt: skip


def test_words(test: ShadowTest | None) -> str:
    """The newest test in one sentence."""
    if test is None:
        return "no test has been made yet"
    said = ", ".join(f"{variant} for {strategy}" for strategy, variant in sorted(test.recommended.items()))
    return f"{test.market_time:%Y-%m-%d}, {test.first_day} to {test.last_day}: {said or 'no change'} is recommended"


def champion_check(agreement: ChampionAgreement | None) -> CheckOutcome:
    """Whether CHAMPION's shadow ledger is production's. ``agreement`` None: there is nothing to compare yet."""
    if agreement is None:
        words = "production has changed its parameters, or has not traded: CHAMPION begins with another account"
        return CheckOutcome(CHAMPION_CHECK, PAPER, True, "error", words)
    rows = [(table, count) for table, count in agreement.different.items() if count]
    offenders = pl.DataFrame(rows, schema={"table": pl.String, "rows": pl.Int64}, orient="row")
    passed = agreement.explained
    return CheckOutcome(
        CHAMPION_CHECK, PAPER, passed, "error", str(agreement), pl.DataFrame() if passed else offenders,
        {"rows": agreement.rows, "corrected": agreement.corrected},
    )  # fmt: skip
