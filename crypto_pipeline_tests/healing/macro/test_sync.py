"""Macro series end to end: what is stored is what was published, and no moment sees a value before its publication.

Guards I2, I5 and I7 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import crypto_pipeline
from crypto_pipeline.healing.macro.due import due_series
from crypto_pipeline.market.macro.vintages import day_end
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import IDS, NAMES, NOW, truth
from crypto_pipeline_tests.healing.macro.conftest import Sync

CUTS = 200


def stored(store: Store, series: str) -> set[tuple[date, date, float | None]]:
    rows = store.macro.observations(store.macro.find(series), prints="all")
    return set(rows.select("period", "vintage_start", "value").rows())


def all_rows(store: Store) -> pl.DataFrame:
    frames = [store.macro.observations(row, prints="all") for row in store.macro.series()]
    return pl.concat(frames).sort("series", "period", "vintage_start")


async def test_every_vintage_is_stored_and_a_second_pass_asks_for_nothing_more(
    store: Store, exchange: ReplayExchange, sync: Sync
) -> None:
    report = await sync()
    assert {one.series: one.status for one in report.outcomes} == dict.fromkeys(NAMES, "stored")
    for series_id in IDS:
        assert stored(store, series_id) == truth(exchange, series_id, NOW)
        row = store.macro.find(series_id)
        assert (row.has_vintages, row.problem, row.collected_at) == (True, None, NOW)
        assert row.title
    before, asked = all_rows(store), exchange.fred.requests
    again = await sync(NOW + timedelta(hours=1))
    assert {one.status for one in again.outcomes} == {"unchanged"}
    assert exchange.fred.requests - asked == len(IDS), "one question a series: whether it changed"
    full = await sync(NOW + timedelta(hours=2), full=True)
    assert {(one.added, one.changed, one.replaced) for one in full.outcomes} == {(0, 0, 0)}
    assert_frame_equal(all_rows(store), before)
    assert store.metrics.recent(datetime(2020, 1, 1, tzinfo=UTC), "macro_sync").height == 3


@pytest.mark.parametrize("live", [False, True], ids=["all at once", "as it came"])
async def test_no_moment_sees_a_value_before_its_publication(
    store: Store, exchange: ReplayExchange, sync: Sync, live: bool
) -> None:
    """Cut at random times: what is read is a part of what was public, and all of it at the end of each day."""
    begin = datetime(2025, 9, 1, 17, tzinfo=UTC)
    if live:
        for step in range(0, (NOW - begin).days, 11):
            await sync(begin + timedelta(days=step, hours=step % 24))
    await sync(NOW)
    draws = random.Random(1 + live)
    rows = {series_id: store.macro.find(series_id) for series_id in IDS}
    for _ in range(CUTS):
        series_id = draws.choice(IDS)
        late = draws.random() < 0.5
        span = (NOW - (begin if late else datetime(2007, 1, 1, tzinfo=UTC))).total_seconds()
        moment = NOW - timedelta(seconds=draws.random() * span)
        seen = store.macro.observations(rows[series_id], as_of=moment, prints="all")
        known = set(seen.select("period", "vintage_start", "value").rows())
        assert known <= truth(exchange, series_id, moment)
        assert (seen["available_at"] <= moment).all()
        over = day_end((moment - timedelta(days=1)).date() - timedelta(days=1), rows[series_id].zone)
        assert truth(exchange, series_id, over) <= known, "the days that are over are all there"
        newest = store.macro.observations(rows[series_id], as_of=moment)
        assert newest["vintage_end"].null_count() == newest.height
        assert newest["period"].is_unique().all()


async def test_python_reads_first_and_revised_values(
    store: Store, sync: Sync, exchange: ReplayExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    await sync()
    newest = crypto_pipeline.macro("CPI", "2024-01-01", "2025-01-01")
    first = crypto_pipeline.macro("CPI", "2024-01-01", "2025-01-01", prints="first")
    assert newest["period"].to_list() == first["period"].to_list() == [date(2024, month, 1) for month in range(1, 13)]
    assert newest["value"].to_list() != first["value"].to_list()
    then = crypto_pipeline.macro("CPIAUCSL", "2024-01-01", as_of="2024-06-01")
    assert then["period"].max() == date(2024, 4, 1)
    assert_frame_equal(then, crypto_pipeline.macro("CPI", "2024-01-01", "2024-05-01", as_of="2024-06-01"))
    with pytest.raises(ValueError, match=r"the span \[start, end\) is empty"):
        crypto_pipeline.macro("CPI", "2025-01-01", "2024-01-01")
    with pytest.raises(crypto_pipeline.StoreError, match="unknown macro series 'CPIX': did you mean CPI"):
        crypto_pipeline.macro("CPIX")


async def test_one_bad_series_costs_only_itself(
    store: Store, exchange: ReplayExchange, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.control({"kind": "malformed", "endpoint": "fred", "symbol": "UNRATE"})
    report = await sync()
    assert {one.series for one in report.outcomes if one.status == "failed"} == {"UNEMPLOYMENT"}
    row = store.macro.find("UNRATE")
    assert (row.attempts, row.collected_at) == (1, None)
    assert row.problem
    assert row.next_attempt == NOW + timedelta(seconds=load_settings().heal_backoff)
    assert [one.row.name for one in due_series(store, NOW)] == []
    assert [one.row.name for one in due_series(store, row.next_attempt)] == ["UNEMPLOYMENT"]
    exchange.clear_faults()
    healed = await sync(row.next_attempt, series=("UNEMPLOYMENT",))
    assert healed.problems == {}
    assert stored(store, "UNRATE") == truth(exchange, "UNRATE", NOW)
    assert store.macro.find("UNRATE").attempts == 0


async def test_rows_that_are_lost_are_fetched_again_with_the_next_news(
    store: Store, exchange: ReplayExchange, sync: Sync
) -> None:
    await sync()
    store.connections.run(
        lambda connection: (
            connection.execute(
                "DELETE FROM market.macro_observations WHERE vintage_start BETWEEN '2015-01-01' AND '2020-01-01'"
            )
            and None
        )
    )
    later = NOW + timedelta(days=60)
    await sync(later)
    for series_id in IDS:
        assert stored(store, series_id) == truth(exchange, series_id, later)


async def test_without_a_key_values_count_from_their_fetching_on_and_a_key_brings_the_vintages(
    store: Store, exchange: ReplayExchange, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SOURCE", "fred")
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_URL", exchange.url)
    assert (await sync()).problems == {}
    row = store.macro.find("CPI")
    assert (row.has_vintages, row.frequency) == (False, "M")
    assert store.macro.observations(row, as_of=NOW - timedelta(seconds=1)).is_empty()
    assert store.macro.observations(row)["basis"].unique().to_list() == ["observed"]
    later = NOW + timedelta(days=40)
    again = await sync(later)
    assert next(one for one in again.outcomes if one.series == "CPI").added >= 1
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_API_KEY", "a" * 32)
    await sync(later + timedelta(hours=1))
    assert stored(store, "CPI") == truth(exchange, "CPIAUCSL", later)


async def test_after_a_refused_key_nothing_more_is_asked(
    store: Store, exchange: ReplayExchange, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_API_KEY", "WRONG")
    asked = exchange.fred.requests
    report = await sync()
    assert exchange.fred.requests == asked + 1
    assert {one.status for one in report.outcomes} == {"failed"}
    assert all("set CRYPTO_PIPELINE_FRED_API_KEY" in problem for problem in report.problems.values())
    assert len(store.macro.series()) == len(report.problems)


async def test_a_series_is_due_when_it_is_new_when_its_release_is_due_and_every_six_hours(
    store: Store, exchange: ReplayExchange, sync: Sync
) -> None:
    assert {one.row.name for one in due_series(store, NOW)} == set(NAMES)
    await sync()
    assert due_series(store, NOW + timedelta(hours=5)) == []
    assert {one.reason for one in due_series(store, NOW + timedelta(hours=6))} == {
        "last asked for at 2026-03-18 12:00 UTC"
    }
    release = next(day for day in store.macro.release_dates(10) if day > NOW.date())
    before = datetime(release.year, release.month, release.day, 12, 10, tzinfo=UTC)
    await sync(before)
    assert [one.row.name for one in due_series(store, before + timedelta(minutes=16))] == []
    after = before + timedelta(minutes=25)
    assert [(one.row.name, one.reason) for one in due_series(store, after)] == [("CPI", "a release is due")]
    await sync(after)
    assert due_series(store, after + timedelta(minutes=20)) == []


def test_syncs_side_by_side_store_every_row_once(store: Store, exchange: ReplayExchange, sync: Sync) -> None:
    async def both() -> None:
        await asyncio.gather(sync(), sync(), sync(full=True))

    asyncio.run(both())
    for series_id in IDS:
        assert stored(store, series_id) == truth(exchange, series_id, NOW)
