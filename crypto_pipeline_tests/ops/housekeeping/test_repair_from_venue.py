"""Archived bars of which no backup has a copy: had again from the venue, what it lacks named, killed and repeated.

Guards I7 and I9 (docs/invariants.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import Timeframe
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.proof import forget_proofs
from crypto_pipeline.store.archive.repair import NOTE
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import miscounted
from crypto_pipeline_tests.cli.test_bad_input import Run, run
from crypto_pipeline_tests.healing.conftest import NOW, Bench, make_bench
from crypto_pipeline_tests.ops.housekeeping.test_archive_repair import flip, place, the_file
from crypto_pipeline_tests.store.archive.test_archive import policy

__all__ = ["make_bench", "run"]

OCTOBER, NOVEMBER = datetime(2026, 10, 30, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
NAMES = ["BTC-USDT", "ETH-USDT"]
VALUES = ["instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count", "source", "complete"]


@pytest.fixture
def bench(make_bench: Callable[..., Bench], tmp_path: Path) -> Bench:
    """Two days of October are archived; ETH-USDT is no longer collected. The deployment collects five days only."""
    bench = make_bench(instruments="BTCUSDT,ETHUSDT", settings={"days": 21})
    bench.collect(*NAMES)
    end = NOVEMBER + timedelta(days=1)
    bench.run(lambda pipeline: pipeline.backfill(OCTOBER, end, timeframes=[Timeframe.M1, Timeframe.M5]))
    archive(bench, tmp_path)
    bench.store.instruments.remove("ETH-USDT")
    return bench


def archive(bench: Bench, folder: Path) -> None:
    storage = ArchiveStorage(str(folder / "archive"))
    Retention(bench.store.connections, storage, folder / "scratch", policy(hot=15)).run(NOW)
    forget_proofs()


def october(bench: Bench) -> pl.DataFrame:
    return bench.store.reader.read(NAMES, Timeframe.M1, OCTOBER, NOVEMBER).select(VALUES)


def given(bench: Bench, url: str, folder: Path) -> dict[str, str]:
    return {
        **{"DATABASE_URL": url, "VENUE": "replay", "REPLAY_PORT": str(bench.exchange.port), "DATA_DIR": str(folder)},
        **{"DAYS": "5", "REQUEST_ATTEMPTS": "2", "KEEP_MIN_BARS": "0", "HEAL_BACKOFF": "0.001"},
    }


@pytest.mark.own_server
def test_what_no_backup_has_comes_back_as_it_was(bench: Bench, run: Run, postgres_url: str, tmp_path: Path) -> None:
    before, settings = october(bench), given(bench, postgres_url, tmp_path)
    assert before.height == 2 * 2880
    damages: list[Callable[[Path], object]] = [
        lambda path: flip(path, 4711),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        Path.unlink,
    ]
    for damage in damages:
        damage(place(the_file(bench.store)))
        forget_proofs()
        bench.exchange.control({"kind": "outage"})
        assert run("archive", "repair", "--from-venue", **settings)[0] != 0
        assert the_file(bench.store), "no file is detached while the venue does not answer"
        bench.exchange.clear_faults()
        code, out, err = run("archive", "repair", "--from-venue")
        assert code == 0, err
        assert "1 were damaged, 1 are repaired" in out
        assert october(bench).equals(before)
        assert bench.store.ledger.open(instruments=NAMES).is_empty()
        assert miscounted(bench.store) == []
        archive(bench, tmp_path)
        assert october(bench).equals(before)
    assert (tmp_path / "damaged").is_dir()


@pytest.mark.own_server
def test_what_the_venue_lacks_is_named_and_a_killed_repair_goes_on(
    bench: Bench, run: Run, postgres_url: str, tmp_path: Path
) -> None:
    before, settings = october(bench), given(bench, postgres_url, tmp_path)
    hole = {"start": "2026-10-30T05:00:00Z", "end": "2026-10-30T06:00:00Z"}
    bench.exchange.control({"kind": "missing_range", "symbol": "BTCUSDT", **hole})
    bench.exchange.control({"kind": "hang", "endpoint": ["klines", "archive"]})
    place(the_file(bench.store)).unlink()
    environment = {**os.environ, **{f"CRYPTO_PIPELINE_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "crypto_pipeline.cli", "archive", "repair", "--from-venue"]
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while bench.store.archive.files("bars", Timeframe.M1):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert october(bench).is_empty()
    bench.exchange.clear_faults()
    bench.exchange.control({"kind": "missing_range", "symbol": "BTCUSDT", **hole})

    code, _, err = run("archive", "repair", "--from-venue", **settings)
    assert code == 1
    assert "BTC-USDT 1m 2026-10-30T05:00:00Z to 2026-10-30T06:00:00Z: 60 bars could not be fetched again" in err
    assert "60 bars of files that were given up are missing" in err
    (row,) = bench.store.ledger.open(instruments=NAMES, timeframe=Timeframe.M1).to_dicts()
    assert (row["state"], row["bars"]) == ("lost", 60)
    assert str(row["note"]).startswith(NOTE)
    start = datetime(2026, 10, 30, 5, tzinfo=UTC)
    inside = pl.col("open_time").is_between(start, start + timedelta(hours=1), closed="left")
    assert october(bench).equals(before.filter(~((pl.col("instrument") == "BTC-USDT") & inside)))

    bench.exchange.clear_faults()
    code, _, err = run("archive", "repair", "--from-venue")
    assert code == 0, err
    assert october(bench).drop("source").equals(before.drop("source"))
    assert bench.store.ledger.open(instruments=NAMES).is_empty()


@pytest.mark.own_server
def test_a_hole_of_archived_days_is_asked_for_by_whom_the_message_names(
    make_bench: Callable[..., Bench], run: Run, postgres_url: str, tmp_path: Path
) -> None:
    hidden = {"kind": "missing_range", "start": "2026-10-30T05:00:00Z", "end": "2026-10-30T06:00:00Z"}
    bench = make_bench(instruments="BTCUSDT", faults=[hidden], settings={"days": 21, "heal_attempts": 1})
    bench.collect("BTC-USDT")
    bench.run(lambda pipeline: pipeline.backfill(OCTOBER, NOVEMBER, timeframes=[Timeframe.M1]))
    (row,) = bench.store.ledger.open(timeframe=Timeframe.M1, start=OCTOBER, end=NOVEMBER).to_dicts()
    assert (row["state"], row["bars"]) == ("unfillable", 60)
    archive(bench, tmp_path)
    bench.exchange.clear_faults()
    code, out, _ = run("gaps", "reopen", str(row["gap_id"]), **given(bench, postgres_url, tmp_path) | {"DAYS": "21"})
    assert code == 0
    assert "its days are archived, so no pass requests it by itself" in out
    report = bench.run(lambda pipeline: pipeline.backfill(OCTOBER, NOVEMBER, timeframes=[Timeframe.M1]))
    assert report.of(Timeframe.M1).planned == 0
    stored = (NOVEMBER - OCTOBER) // timedelta(minutes=1)
    assert bench.store.reader.read(["BTC-USDT"], Timeframe.M1, OCTOBER, NOVEMBER).height == stored - 60
    (asks,) = [part for part in out.split("`") if part.startswith("crypto-pipeline backfill")]
    assert run(*asks.split()[1:])[0] == 0
    assert bench.store.reader.read(["BTC-USDT"], Timeframe.M1, OCTOBER, NOVEMBER).height == stored
    assert miscounted(bench.store) == []
