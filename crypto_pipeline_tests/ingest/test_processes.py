"""Ingest as processes that are killed, paused, doubled and relieved: one writes at a time, and nothing is missing.

Guards I7 and I8 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.ingest.conftest import Desk

MINUTE = timedelta(minutes=1)


class Programs:
    """Ingest programs of one test; what is left of them is killed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self, desk: Desk, **settings: object) -> subprocess.Popen[bytes]:
        values = {
            "data_dir": self.folder,
            "database_url": desk.store.url,
            "venue": "replay",
            "replay_port": desk.exchange.port,
            "replay_speed": desk.exchange.clock.speed,
            "ingest_lease_seconds": 3,
            "ingest_recover_seconds": 7200,
            **settings,
        }
        given = {f"CRYPTO_PIPELINE_{name.upper()}": str(value) for name, value in values.items()}
        with (self.folder / f"{len(self.all)}.log").open("wb") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", "crypto_pipeline.ingest"], env=os.environ | given, stdout=log, stderr=log
            )
        self.all.append(program)
        return program

    def end(self) -> None:
        for program in self.all:
            program.kill()
            program.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    made.end()


def holder(desk: Desk) -> str:
    rows = [row for row in desk.store.leases.rows() if row.name == "ingest-0" and row.held]
    return rows[0].holder if rows else ""


async def held_by(desk: Desk, program: subprocess.Popen[bytes]) -> None:
    """Wait until this program holds the lease and is live."""

    def holds() -> bool:
        beat = desk.store.heartbeats.get("ingest-0")
        mine = f":{program.pid}:"
        return mine in holder(desk) and beat is not None and mine in beat.holder and beat.detail["state"] == "live"

    await desk.until(holds, 60)


async def test_a_paused_holder_is_replaced_and_writes_nothing_when_it_wakes(
    make_desk: Callable[..., Desk], programs: Programs
) -> None:
    desk = make_desk(4, speed=10.0)
    old = programs.start(desk)
    await held_by(desk, old)
    start = Timeframe.M1.ceil(desk.exchange.clock.now())
    new = programs.start(desk)
    await asyncio.sleep(3)
    assert f":{old.pid}:" in holder(desk)
    old.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    await held_by(desk, new)
    assert time.monotonic() - began < 30
    old.send_signal(signal.SIGCONT)
    # it finds that the lease is somebody else's, says so and ends
    await asyncio.to_thread(old.wait, 30)
    assert f":{new.pid}:" in holder(desk)
    end = Timeframe.M1.floor(desk.exchange.clock.now())
    await desk.reach(start, end)
    new.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(new.wait, 30) == 0
    assert holder(desk) == ""


async def test_a_run_that_is_old_hands_over_to_the_one_that_stands_by(
    make_desk: Callable[..., Desk], programs: Programs
) -> None:
    desk = make_desk(4, speed=10.0)
    old = programs.start(desk, ingest_rotate_hours=3 / 3600)
    await desk.until(lambda: desk.state() in ("live", "rotating"), 60)
    start = Timeframe.M1.ceil(desk.exchange.clock.now())
    await desk.until(lambda: desk.state() == "rotating", 60)
    assert old.poll() is None  # nobody stands by: it goes on
    new = programs.start(desk)
    assert await asyncio.to_thread(old.wait, 60) == 0
    await held_by(desk, new)
    end = Timeframe.M1.floor(desk.exchange.clock.now())
    await desk.reach(start, end)


@pytest.mark.faults
@pytest.mark.slow
async def test_a_short_soak_of_faults_and_kills(make_desk: Callable[..., Desk], programs: Programs) -> None:
    """CRYPTO_PIPELINE_SOAK_SECONDS makes it longer; bench/soak.py does it to a whole deployment."""
    seconds = float(os.environ.get("CRYPTO_PIPELINE_SOAK_SECONDS", "25"))
    speed = 30.0
    desk = make_desk(30 if seconds > 100 else 12, speed=speed)
    clock, rng = desk.exchange.clock, random.Random(int(os.environ.get("CRYPTO_PIPELINE_SOAK_SEED", "4")))
    program = programs.start(desk)
    await held_by(desk, program)
    start = Timeframe.M1.ceil(clock.now())
    desk.exchange.control(
        {"kind": "ws_duplicate", "probability": 0.02},
        {"kind": "ws_reorder", "probability": 0.02, "by": 2},
        {"kind": "ws_drop", "probability": 0.02},
        {"kind": "ws_malformed", "probability": 0.005},
        {"kind": "ws_bad_ids", "probability": 0.005},
        {"kind": "ws_bad_ids", "manner": "repeat", "probability": 0.005},
        {"kind": "ws_bad_ids", "manner": "zero", "probability": 0.002},
        {"kind": "ws_delay", "seconds": 1.5, "probability": 0.01},
        {"kind": "ws_clock_skew", "milliseconds": -60_000, "probability": 0.005},
        {"kind": "server_error", "probability": 0.02},
    )
    until, kills = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await asyncio.sleep(rng.uniform(1, 4))
        what = rng.choice(["cut", "freeze", "kill", "half", "maintenance", "slow", "refuse"])
        if what == "kill" or not kills:
            kills += 1
            program.kill()
            program.wait()
            program = programs.start(desk)
            began = time.monotonic()
            await held_by(desk, program)
            assert time.monotonic() - began < 30
        elif what == "freeze":
            desk.exchange.control({"kind": "ws_freeze", "seconds": 5, "count": 1})
        elif what == "slow":
            desk.exchange.control({"kind": "ws_slow_consumer", "bytes": 0, "count": 1})
        elif what == "refuse":
            desk.exchange.control({"kind": "ws_refuse", "connections": 0, "count": 2}, {"kind": "ws_cut", "count": 1})
        elif what == "maintenance":
            desk.exchange.control({"kind": "ws_maintenance", "closes_after": 2, "down_seconds": 2, "count": 1})
        else:
            desk.exchange.control({"kind": "ws_cut", "manner": "abort" if what == "cut" else "half", "count": 1})
    desk.exchange.clear_faults()
    end = Timeframe.M1.floor(clock.now())
    await asyncio.sleep(2)
    await desk.reach(start, end)
    desk.check(start, end)
    assert kills
