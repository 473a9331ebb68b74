"""Shadow variants on a real database: production's ledger again, the test once in 28 days, what a person applies.

Guards I7 and I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from typer.testing import CliRunner

from crypto_pipeline.cli.app import app
from crypto_pipeline.definitions import defs
from crypto_pipeline.ops.reports.sections.shadow import shadow as shadow_section
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.trading.shadow.comparison import ShadowMinima
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS
from crypto_pipeline.trading.stored.production import production_parameters
from crypto_pipeline.trading.stored.scans import ScanPass
from crypto_pipeline.trading.stored.shadow.changes import apply_variant
from crypto_pipeline.trading.stored.shadow.shadow_pass import ShadowReport, shadow_pass
from crypto_pipeline.trading.stored.shadow.shown import champion_check
from crypto_pipeline.trading.stored.trading_pass import trading_pass
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, START, stored_trading_market

#: Trading begins after five of them.
DAYS = 9
MINIMA = ShadowMinima(days=3, trades=3)
TO = START + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=FREQUENT, scan_deadline_seconds=0)


@pytest.fixture(scope="module")
def store(new_database: NewDatabase, settings: Settings) -> Iterator[Store]:
    """Traded in one pass."""
    with new_database("shadowed_in_tests") as url, Store(url) as made:
        stored_trading_market(made, DAYS)
        made.clock.learn("replay", TO)
        made.trading.scans.begin(FROM)
        for second in (20, 40):  # the first look waits for bars that are absent
            ScanPass(settings).run(made, TO + timedelta(seconds=second))
        yield made


def count(store: Store, table: str) -> int:
    (found,) = store.connections.row(f"SELECT count(*) FROM trading.{table}")
    return int(found)


def test_without_an_account_there_is_nothing_to_compare(store: Store, settings: Settings) -> None:
    assert shadow_pass(store, settings) == ShadowReport("the paper account has not begun: no bar has been scanned yet")


@pytest.fixture(scope="module")
def report(store: Store, settings: Settings) -> ShadowReport:
    assert trading_pass(store, settings).moment == TO
    return shadow_pass(store, settings, MINIMA)


def test_the_ledger_of_production_is_productions(report: ShadowReport) -> None:
    assert report.agreement is not None
    assert (report.agreement.equal, report.agreement.corrected) == (True, 0), str(report.agreement)
    assert report.agreement.rows > 500
    assert report.since == FROM
    assert report.days == (FROM.date(), (TO - timedelta(days=1)).date())


def test_every_variant_is_stored_and_compared_where_it_concerns(store: Store, report: ShadowReport) -> None:
    assert report.compared is not None
    assert {name: len(variants) for name, variants in report.compared.items()} == {"dca": 8, "swing": 5, "channel": 5}
    stored = store.connections.rows("SELECT variation, count(*) FROM trading.shadow_testing_trades GROUP BY 1")
    assert {name for name, _ in stored} == set(VARIANTS)
    assert count(store, "shadow_outcomes") == 4 * 3 * len(VARIANTS)
    production = store.trading.ledger.read("trade_logs", "paper")
    assert dict(stored)[CHAMPION] == production.height > 10


def test_a_test_is_made_once_in_four_weeks_and_a_pass_changes_nothing_again(
    store: Store, settings: Settings, report: ShadowReport
) -> None:
    assert (report.untested, report.test is None) == ("", False)
    assert report.test is not None
    assert {name: len(figures) for name, figures in report.test.figures.items()} == {"dca": 8, "swing": 5, "channel": 5}
    tables = [f"shadow_{name}" for name in ("variations", "testing_scans", "testing_trades", "outcomes", "tests")]
    before = [count(store, table) for table in tables]
    again = shadow_pass(store, settings, MINIMA)
    assert again.untested == f"the next test is due on {TO + timedelta(days=28):%Y-%m-%d}"
    assert again.test == report.test
    assert again.compared == report.compared
    assert [count(store, table) for table in tables] == before


@pytest.mark.parametrize(
    ("strategy", "variant", "reason", "said"),
    [
        ("scalping", None, "seen", "no strategy 'scalping': use one of dca"),
        ("swing", "FASTER", "seen", "no variant 'FASTER'"),
        ("swing", "DCA_3", "seen", "DCA_3 does not concern swing"),
        ("swing", "TRAILING", "", "needs a reason"),
        ("swing", None, "seen", "no change of swing is recommended"),
    ],
    ids=["strategy", "variant", "other strategy", "reason", "not recommended"],
)
def test_what_cannot_be_applied(store: Store, strategy: str, variant: str | None, reason: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        apply_variant(store, strategy, variant=variant, reason=reason, person="Ann")
    assert store.trading.shadow.changes() == []


def test_the_asset_shows_them_and_checks_production(
    store: Store, report: ShadowReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report.compared is not None
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(FREQUENT))
    with dg.DagsterInstance.ephemeral() as instance:
        done = defs().resolve_job_def("compare_variants").execute_in_process(instance=instance)
    (made,) = done.get_asset_materialization_events()
    shown = made.materialization.metadata
    assert shown["dagster/row_count"].value == count(store, "shadow_outcomes")
    assert [shown[name].value[:2] for name in ("earned", "differences")] == ["![", "!["]
    assert len(shown["variants"].records) == 18  # type: ignore[union-attr]
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("champion_is_production", True)
    assert "is production's in every field" in str(check.description)


def test_the_command_shows_what_is_stored_and_says_what_it_lacks(
    store: Store, report: ShadowReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(FREQUENT))
    shown = CliRunner().invoke(app, ["shadow"])
    assert shown.exit_code == 0, shown.output
    assert "QUICK_EXITS" in shown.output
    assert "newest test: " in shown.output
    told = json.loads(CliRunner().invoke(app, ["shadow", "--json"]).output)
    assert len(told["variants"]) == 18
    assert told["declares"]["CONSERVATIVE"] == {
        "max_open": 3, "threshold_shift": "+0.05", "size_factor": "×0.5", "stop_factor": "×0.8"
    }  # fmt: skip
    refused = CliRunner().invoke(app, ["shadow", "apply", "swing", "--reason", "a test", "--variant", "FASTER"])
    assert refused.exit_code != 0


def test_the_report_of_the_afternoon_has_every_variant(store: Store, settings: Settings, report: ShadowReport) -> None:
    assert report.test is not None
    source = ReportSource(settings, store, store.url, "afternoon", FROM, TO, TO)
    section = shadow_section(source)
    assert len(section.tables[0].rows) == 18
    assert section.headline.startswith(f"{FROM:%Y-%m-%d} to {TO - timedelta(days=1):%Y-%m-%d}. Newest test: ")


def test_an_unexplained_difference_fails_the_check(report: ShadowReport) -> None:
    assert report.agreement is not None
    differing = replace(report.agreement, different={"trade_logs": 2})
    assert not champion_check(differing).passed
    assert champion_check(differing).summary == "CHAMPION's shadow ledger differs from production's: 2 of trade_logs"
    assert champion_check(replace(differing, corrected=1)).passed
    assert champion_check(None).passed


def test_a_person_applies_a_variant_with_a_reason_and_takes_it_back(store: Store, settings: Settings) -> None:
    plain = production_parameters(store, settings)
    change = apply_variant(store, "swing", variant="trailing", reason="a test", person="Ann")
    assert (change.variation, change.test_id) == ("TRAILING", None)
    changed = production_parameters(store, settings)
    assert {name: dict(values) for name, values in changed.by_strategy.items()} == {"swing": {"trailing": True}}
    found = shadow_pass(store, settings)
    assert (found.because, found.since) == (
        "production has decided no signal yet with the parameters of today", TO,
    )  # fmt: skip
    apply_variant(store, "swing", variant="CHAMPION", reason="enough", person="Ann")
    assert production_parameters(store, settings) == plain
