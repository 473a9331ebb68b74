"""Checks of macro series: green on what is right, red on what is not, and never green on what nobody knows."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from crypto_pipeline.healing.macro.checks import check_macro, record_macro
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.market.macro.vintages import Availability, Vintage
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import NAMES, NOW, collect
from crypto_pipeline_tests.healing.macro.conftest import Sync


def outcomes(store: Store, now: object = NOW) -> dict[str, CheckOutcome]:
    return {one.name: one for one in check_macro(store, now)}  # type: ignore[arg-type]


async def test_what_is_right_passes(store: Store, sync: Sync) -> None:
    await sync()
    found = outcomes(store)
    assert {name: (one.passed, one.summary) for name, one in found.items()} == dict.fromkeys(
        ("release_missed", "revision_size", "is_fresh"), (True, "5 series pass")
    )
    record_macro(store, list(found.values()))
    assert store.checks.results()["check"].to_list() == [
        "macro_is_fresh", "macro_release_missed", "macro_revision_size",
    ]  # fmt: skip
    assert store.checks.open_alerts().is_empty()


async def test_what_nobody_knows_is_not_green(store: Store, exchange: ReplayExchange) -> None:
    for name, one in outcomes(store).items():
        assert not one.passed, name
        assert set(one.offenders["verdict"]) == {"unknown"}
    stored = Stored.read(store)
    assert stored.macro_waiting == list(NAMES)
    assert stored.checks_not_run == stored.checks_wanted > 3
    record_macro(store, list(outcomes(store).values()))
    assert Stored.read(store).checks_not_run == stored.checks_not_run - 3
    store.macro.choose([])
    assert Stored.read(store).macro_waiting == []
    assert not any(one.passed for one in outcomes(store).values()), "no series is no proof"


async def test_a_release_that_does_not_come_is_missed(store: Store, sync: Sync) -> None:
    await sync()
    release = next(day for day in store.macro.release_dates(10) if day > NOW.date())
    late = NOW + (release - NOW.date()) + timedelta(days=2)
    missed = outcomes(store, late)["release_missed"]
    assert not missed.passed
    assert "CPI" in missed.offenders["series"].to_list()
    assert f"the value of 2026-03-01 was expected on {release}" in missed.summary
    assert not outcomes(store, late)["is_fresh"].passed
    await sync(late)
    assert outcomes(store, late)["release_missed"].passed


async def test_a_revision_larger_than_usual_is_named(store: Store, sync: Sync) -> None:
    await sync()
    row = store.macro.find("UNEMPLOYMENT")
    newest = store.macro.observations(row).filter(period=date(2026, 1, 1)).row(0, named=True)
    day = NOW.date() - timedelta(days=1)
    restated = [
        Vintage(newest["period"], newest["value"], newest["vintage_start"], day - timedelta(days=1)),
        Vintage(newest["period"], newest["value"] + 3.0, day, None),
    ]
    store.macro.write("UNRATE", restated, Availability(row.zone, NOW))
    found = outcomes(store)["revision_size"]
    assert (found.passed, found.severity) == (False, "warning")
    assert found.offenders["series"].to_list() == ["UNEMPLOYMENT"]
    assert f"of 2026-01-01 on {day}" in found.summary


async def test_a_series_that_fails_or_has_no_vintages_is_said(
    store: Store, exchange: ReplayExchange, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SOURCE", "fred")
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_URL", exchange.url)
    collect(store, exchange, monkeypatch, "CPI,NOPE")
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SOURCE", "fred")
    await sync()
    found = outcomes(store)
    assert (found["is_fresh"].passed, found["is_fresh"].severity) == (False, "error")
    assert "FRED has no series 'NOPE'" in found["is_fresh"].summary
    store.macro.choose(choose_series("CPI"))
    sizes = outcomes(store)["revision_size"]
    assert (sizes.passed, sizes.severity) == (False, "info")
    assert "CRYPTO_PIPELINE_FRED_API_KEY" in sizes.summary
    assert outcomes(store)["is_fresh"].passed
    assert outcomes(store)["release_missed"].passed, "the usual lag of CPI is known"


async def test_what_was_said_of_macro_series_is_forgotten_with_them(store: Store, exchange: ReplayExchange) -> None:
    record_macro(store, list(outcomes(store).values()))
    store.checks.record_result("macrophage", None, passed=False)
    assert store.checks.open_alerts().height == 4
    store.checks.forget("macro_")
    assert store.checks.results()["check"].to_list() == ["macrophage"]
    assert store.checks.open_alerts()["source"].to_list() == ["macrophage"]
