"""Leases: one holder at a time, and a token that keeps a former holder from writing.

Guards I7 (docs/invariants.md).
"""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import JobMetrics, LeaseLost, Store
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, bar, frame
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.places import PROJECT


@pytest.fixture
def leases(store: Store) -> Store:
    store.connections.run(
        lambda connection: connection.execute("TRUNCATE ops.leases, ops.heartbeats, ops.job_metrics") and None
    )
    return store


def test_one_holder_at_a_time_and_every_change_of_hands_is_seen(leases: Store) -> None:
    first = leases.leases.acquire("ingest-0", "a", 60)
    assert first is not None
    assert leases.leases.acquire("ingest-0", "b", 60) is None
    assert leases.leases.acquire("ingest-1", "b", 60) is not None
    leases.leases.stand_by("ingest-0", "b", 5)
    assert leases.leases.renew(first, 60) == "b"
    leases.leases.release(first)
    second = leases.leases.acquire("ingest-0", "b", 60)
    assert second is not None
    assert second.token == first.token + 1
    assert leases.leases.renew(second, 60) is None
    with pytest.raises(LeaseLost, match="is not held by a"):
        leases.leases.renew(first, 60)
    leases.leases.release(first)  # no harm
    assert [row.held for row in leases.leases.rows()] == [True, True]


def test_every_write_proves_the_lease(leases: Store) -> None:
    lease = leases.leases.acquire("ingest-0", "a", 0.5)
    assert lease is not None
    fenced = leases.fenced(lease)
    assert fenced.bars.write(frame([bar()]), Timeframe.M1).inserted == 1
    time.sleep(0.6)  # expired and nobody took it: still not ours
    with pytest.raises(LeaseLost):
        fenced.bars.write(frame([bar(at=START + timedelta(minutes=1))]), Timeframe.M1)
    with pytest.raises(LeaseLost):
        fenced.heartbeats.beat("ingest-0", "a")
    assert len(fenced.reader.read(SYMBOLS, Timeframe.M1, START, START + timedelta(days=1))) == 1


def test_a_write_in_progress_is_waited_for_and_a_stuck_one_is_ended(leases: Store) -> None:
    lease = leases.leases.acquire("ingest-0", "a", 1.0)
    assert lease is not None
    fenced = leases.fenced(lease)
    tried: list[object] = []

    def stuck(connection: object) -> None:
        if not tried:
            until = time.monotonic() + 20
            while (taken := leases.leases.acquire("ingest-0", "b", 60)) is None and time.monotonic() < until:
                time.sleep(0.1)
            tried.append(taken)
        connection.execute("SELECT 1")  # type: ignore[attr-defined]

    began = time.monotonic()
    with pytest.raises(LeaseLost):
        fenced.connections.run(stuck)
    assert tried[0] is not None
    assert 1.0 < time.monotonic() - began < 15


_WRITER = """
import sys, time
from datetime import datetime, timedelta, UTC
from crypto_pipeline.store import Store, LeaseLost
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.builders.bars import bar, frame, START
from crypto_pipeline_tests.builders.databases import from_argument
with Store(from_argument(sys.argv[1])) as store:
    store.heartbeats.all()  # what is imported and connected now costs no time of the lease
    while (lease := store.leases.acquire("ingest-0", sys.argv[2], 1.0)) is None:
        time.sleep(0.1)
    fenced = store.fenced(lease)
    print("holding", flush=True)
    n = 0
    try:
        while True:
            n += 1
            fenced.heartbeats.beat("ingest-0", sys.argv[2], {"n": n})
            fenced.leases.renew(lease, 1.0)
    except LeaseLost:
        print("lost", flush=True)
"""


def test_statements_of_sqlalchemy_are_fenced_too(leases: Store) -> None:
    lease = leases.leases.acquire("ingest-0", "a", 60)
    assert lease is not None
    fenced = leases.fenced(lease)
    fenced.checks.raise_alert("fenced", "error", "held")
    leases.leases.release(lease)
    with pytest.raises(LeaseLost):
        fenced.checks.raise_alert("fenced", "error", "lost")
    assert leases.checks.open_alerts()["summary"].to_list() == ["held"]
    leases.checks.resolve_alert("fenced")


def test_a_paused_holder_writes_nothing_after_it_wakes(leases: Store) -> None:
    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _WRITER, as_argument(leases.url), name],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )

    def says(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    old = start("old")
    new = None
    try:
        assert says(old) == "holding"
        for _ in range(3):  # at whatever point of a transaction the signal catches it
            old.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            old.send_signal(signal.SIGCONT)
        old.send_signal(signal.SIGSTOP)
        new = start("new")
        assert says(new) == "holding"
        old.send_signal(signal.SIGCONT)
        assert says(old) == "lost"
        while (beat := leases.heartbeats.get("ingest-0")) is None or beat.holder != "new":
            assert new.poll() is None
            time.sleep(0.05)
        assert beat.age < 5
    finally:
        for process in (old, new):
            if process is not None:
                process.kill()
                process.wait()


def test_runs_of_jobs_are_summed_up(leases: Store) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    leases.metrics.record(JobMetrics("live", began, 0.5, bars_made=90, gaps_found=2, gaps_filled=1, oldest_gap=began))
    for minute in (1, 2):
        leases.metrics.record(
            JobMetrics("live", began + timedelta(minutes=minute), 0.1, succeeded=False, status="venue away")
        )
    row = leases.metrics.summary(began).row(0, named=True)
    assert (row["runs"], row["bars_made"], row["gaps_found"], row["failures_in_a_row"]) == (3, 90, 2, 2)
    assert (row["last_status"], row["oldest_gap"]) == ("venue away", None)
    assert len(leases.metrics.recent(began + timedelta(minutes=1), "live")) == 2
    assert leases.metrics.prune(timedelta(days=1)) == 3
