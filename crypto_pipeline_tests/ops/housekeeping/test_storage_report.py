"""The storage report on a real database: sizes, growth, forecast, what can go; with and without what a server keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from crypto_pipeline.market import Timeframe
from crypto_pipeline.ops.charts.storage import storage_chart
from crypto_pipeline.ops.host.disk_space import size_text
from crypto_pipeline.ops.housekeeping.storage_report import DiskUse, StorageReport, judge, readable, report
from crypto_pipeline.ops.housekeeping.trim import plan, trim
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.partitions import trades
from crypto_pipeline_tests.builders.bars import add_symbols, series

#: By the market's clock: yesterday's noon, so that no day ends while the tests run.
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture
def filled(postgres_url: str, tmp_path: Path) -> tuple[Settings, Store]:
    store = Store(postgres_url)
    store.clock.learn("replay", NOW)
    add_symbols(store)
    store.bars.write(series(count=4 * 1440, start=NOW - timedelta(days=4)), Timeframe.M1)
    store.bars.write(series(count=200, start=Timeframe.H1.floor(NOW - timedelta(days=500)), timeframe=Timeframe.H1),
                     Timeframe.H1)  # fmt: skip
    store.storage.analyze()
    # settled: what the ledger has no word for is not waited for
    execute(store, "UPDATE market.coverage SET expected = present")
    return load_settings(data_dir=tmp_path, database_url=postgres_url, disk_gb=50, keep_min_bars=0), store


def execute(store: Store, statement: str) -> None:
    store.connections.run(lambda connection: connection.execute(statement) and None)


def test_sizes_rows_and_forecast(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    found = report(settings, store, store.url)
    minutes = found.tables.filter(timeframe="1m").row(0, named=True)
    assert minutes["rows"] == pytest.approx(4 * 4 * 1440, rel=0.02)
    assert minutes["bytes"] >= minutes["heap_bytes"] + minutes["index_bytes"] > 2_000_000
    # two sessions write so many bars: PostgreSQL extends the table for each by up to 64 pages, which later rows fill
    assert minutes["bloat_bytes"] < 0.1 * minutes["heap_bytes"] + 2 * 64 * 8192
    assert minutes["analyzed_at"] is not None
    assert "ohlc_data_pkey" in found.indexes["index"].to_list()
    # nothing is measured yet: the bars of the last days tell
    assert not found.measured
    assert found.bytes_per_day == pytest.approx(4 * 1440 * minutes["bytes"] / minutes["rows"], rel=0.05)
    assert found.days_until_full is not None
    assert found.days_until_full > 1000
    # one-hour bars from 500 days ago are beyond what the policy keeps
    assert found.freed.filter(timeframe="1h")["rows"].to_list() == [4 * 200]
    assert found.freed_bytes > 4 * 200 * 100
    assert storage_chart(found).startswith(b"\x89PNG")
    assert "until the disk is full" in found.headline()
    assert found.as_dict()["tables"]


def test_growth_is_the_slope_of_samples(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    for day in range(4):
        execute(
            store,
            "INSERT INTO ops.storage_samples (taken_at, name, bytes, rows) SELECT "
            f"now() - interval '{4 - day} days', name, bytes, rows FROM (VALUES ('', {10**9 + day * 10**8}, 0), "
            f"('market.ohlc_data 1m', {day * 10**7}, {day * 1000})) AS v (name, bytes, rows)",
        )
    found = report(settings, store, store.url)
    assert found.measured
    assert found.bytes_per_day == pytest.approx(1e8)
    assert found.growth.filter(name="market.ohlc_data 1m")["rows_per_day"][0] == pytest.approx(1000)
    assert found.days_until_full == pytest.approx((found.disk.free or 0) / 1e8)
    # what fills the same disk is part of the whole
    store.storage.sample({"archive": 10**9, "dagster": 5})
    noted = store.connections.frame(
        "SELECT name, bytes FROM ops.storage_samples WHERE taken_at > now() - interval '1 hour'"
    )
    sizes = dict(noted.iter_rows())
    assert sizes["archive"] == 10**9
    assert sizes[""] - 10**9 - 5 == pytest.approx(store.size_bytes(), rel=0.05)
    assert store.storage.prune(timedelta(hours=12))["ops.storage_samples"] == 6


def test_people_see_sizes_and_shares(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    store.views.refresh("ohlc_recent")
    found = report(settings, store, store.url)
    # analyzed in part: how wide its rows are is not known, and no bloat is made up
    view = found.tables.filter(table="market.ohlc_recent").row(0, named=True)
    assert (view["rows"], view["bloat_bytes"]) == (4 * 4 * 1440, None)
    minutes = readable(found.tables.with_columns(cache_hit=0.98765)).filter(timeframe="1m").row(0, named=True)
    assert minutes["bytes"].endswith(" MB")
    assert minutes["cache_hit"] == "98.8 %"
    assert datetime.now(UTC) - datetime.fromisoformat(f"{minutes['analyzed_at']}Z") < timedelta(hours=1)
    assert found.tables["bytes"].min() < 65_536
    assert not [row for row in readable(found.tables)["bytes"] if row == "0 B"]


DISKS = [
    (DiskUse(10**12, 2 * 10**12), 10**9, True, "warning"),
    (DiskUse(2 * 10**10, 10**11), 10**9, False, "warning"),
    (DiskUse(6 * 10**9, 10**11), 10**9, False, "error"),
    (DiskUse(10**9, 10**11), 0, False, "error"),
    (DiskUse(10**9, 10**10), -5, True, "warning"),
    (DiskUse(None, None, "not ours"), 10**12, True, "warning"),
]


def test_the_disk_is_judged(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    found: StorageReport = report(settings, store, store.url)
    for disk, rate, passed, severity in DISKS:
        verdict = {one.name: one for one in judge(settings, replace(found, disk=disk, bytes_per_day=rate))}[
            "disk_lasts"
        ]
        assert (verdict.passed, verdict.severity) == (passed, severity), disk


def test_partitions_are_made_ahead_and_missed(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    verdicts = {one.name: one for one in judge(settings, report(settings, store, store.url))}
    assert not verdicts["partitions_ahead"].passed
    assert "trades: 0 ahead" in verdicts["partitions_ahead"].summary
    for _ in range(2):
        store.storage.make_partitions_ahead(NOW)
        ahead = store.storage.partitions_ahead(NOW)
        assert ahead == {"ohlc_1m": 3, "ohlc_5m": 3, "ohlc_15m": 3, "trades": 3}
    assert store.storage.partitions_ahead(NOW + timedelta(days=95))["ohlc_1m"] == 0
    verdicts = {one.name: one for one in judge(settings, report(settings, store, store.url))}
    assert verdicts["partitions_ahead"].passed
    ahead_of = series(count=10, start=NOW + timedelta(days=40))
    assert store.bars.write(ahead_of, Timeframe.M1).inserted == 40


@pytest.mark.own_server
def test_statement_statistics_are_shown_where_they_are_kept(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    assert report(settings, store, store.url).slow_queries is None
    assert store.storage.keep_statement_statistics()
    slow = report(settings, store, store.url).slow_queries
    assert slow is not None
    assert slow["total_s"].is_sorted(descending=True)
    assert slow["calls"].min() >= 1


@pytest.mark.own_server
def test_a_role_that_sees_little_gets_a_report(filled: tuple[Settings, Store]) -> None:
    settings, store = filled
    execute(store, "CREATE ROLE reader_in_tests LOGIN PASSWORD 'x'")
    try:
        execute(store, "GRANT USAGE ON SCHEMA market, ops TO reader_in_tests")
        execute(store, "GRANT SELECT ON ALL TABLES IN SCHEMA market, ops TO reader_in_tests")
        url = store.url.replace(store.url.split("//")[1].split("@")[0], "reader_in_tests:x")
        with Store(url) as little:
            assert not little.storage.keep_statement_statistics()
            found = report(settings, little, url)
            assert found.tables.height > 10
    finally:
        execute(store, "DROP OWNED BY reader_in_tests; DROP ROLE reader_in_tests")


def test_trimming_frees_room_and_never_a_bar(filled: tuple[Settings, Store], tmp_path: Path) -> None:
    settings, store = filled
    bars = store.connections.frame("SELECT count(*) AS n FROM market.ohlc_data")["n"][0]
    replaced = tmp_path / "postgres.before-2026-01-01T00-00-00Z"
    replaced.mkdir()
    (replaced / "file").write_bytes(b"x" * 1000)
    today = (NOW.date() - date(1970, 1, 1)).days
    with psycopg.connect(store.url) as connection:
        for day in range(today - 4, today + 1):
            trades.ensure_day(connection, day)
    steps = plan(settings, store)
    assert [step.what.split(" ")[0] for step in steps] == ["database", "trades"]
    said: list[str] = []
    assert trim(steps, said.append) >= 1000
    assert len(said) == 2
    assert not replaced.exists()
    with psycopg.connect(store.url) as connection:
        assert len(trades.partitions(connection)) == 2
    assert store.connections.frame("SELECT count(*) AS n FROM market.ohlc_data")["n"][0] == bars
    assert plan(settings, store) == []


def test_sizes_are_written_for_people() -> None:
    assert [size_text(count) for count in (0, 999, 1500, 2.5e6, 3.21e9, 4e12)] == [
        "0 B", "999 B", "2 kB", "2.5 MB", "3.2 GB", "4.0 TB",
    ]  # fmt: skip
