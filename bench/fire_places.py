"""Tests of under_fire.py on the machine and the venue: a full disk, IPv6, an unreachable venue, huge frames."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import queue
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common import Replay, load
from fire_exam import Exam, compare

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.disk_space import Disk
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline_tests.builders.stream_server import Line, serving
from crypto_pipeline_tests.ops.housekeeping.test_disk import MB, empty, fill


def disk(given: argparse.Namespace) -> int:
    place = Path(tempfile.mkdtemp(prefix="cp-disk-"))
    place.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={given.mb}m,mode=0755", "tmpfs", str(place)], check=True)
    exam = Exam("--instruments", "8", "--days", "2")
    shutil.rmtree(exam.house.data_dir)
    exam.house.data_dir, exam.house.output = place / "data", place / "output"
    exam.house.data_dir.mkdir(mode=0o755)
    exam.house.places = Places(exam.house.data_dir)
    try:
        exam.start()
        start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        for number in range(given.rounds):
            time.sleep(45)
            fill_and_empty(exam, place, number)
        time.sleep(75)
        compare(exam, start)
        print(exam.house.output.read_text())
        return exam.tell(f"disk, {given.rounds} rounds on {given.mb} MB")
    finally:
        exam.house.stop()
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def fill_and_empty(exam: Exam, place: Path, number: int) -> None:
    limits = Disk(exam.house.data_dir, 256).limits
    known = exam.house.pids()
    fill(place, leave=limits.warn - MB)
    exam.until(lambda: "disk_room" in exam.alerts(), 30, "a warning is open")
    exam.say(f"alert: {exam.alerts()['disk_room']}")
    reserve = exam.house.data_dir / "reserve"
    exam.want(reserve.exists(), "there is no reserve")
    fill(place, leave=limits.stop - MB)
    exam.until(lambda: not reserve.exists(), 30, "the reserve is given up")
    exam.until(lambda: "reserve was needed" in exam.alerts()["disk_room"], 30, "that is an alert")
    exam.say(f"alert: {exam.alerts()['disk_room']}; live {exam.live()}")
    began = time.monotonic()
    while exam.house.state.phase != "waiting for room":
        fill(place)
        exam.want(time.monotonic() - began < 120, "it does not wait for room")
        time.sleep(0.2)
    down = [name for name, pid in known.items() if name != "up" and processes.is_alive(pid)]
    exam.until(lambda: not any(processes.is_alive(pid) for pid in known.values()), 90, f"everything is down: {down}")
    exam.say(f"all programs down {time.monotonic() - began:.0f} s after it was full")
    said = exam.house.command("status")
    exam.say(f"status: exit {said.returncode}, {said.stdout.strip().splitlines()[:3]}")
    time.sleep(60)
    empty(place)
    took = exam.house.await_healthy(240)
    took_live = took + exam.until(exam.live, 120, "ingest is live again")
    exam.say(f"room again: healthy after {took:.0f} s, live bars after {took_live:.0f} s (load {load()})")
    exam.want(exam.house.output.read_text().count("there is room again") == number + 1, "it does not say so")
    exam.until(lambda: "disk_room" not in exam.alerts(), 60, "the alert is closed")
    exam.until(reserve.exists, 60, "the reserve is kept again")


def ipv6(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "3", "--host", "::1") as exam:
        urls = exam.house.state.urls
        exam.want(all(url.startswith("http://[::1]:") for url in urls.values()), f"addresses {urls}")
        for name, path in {
            "ui": "/server_info", "api": "/bars/BTC-USDT?timeframe=1m&last=3", "replay": "/api/v3/ping"
        }.items():  # fmt: skip
            with urllib.request.urlopen(urls[name] + path, timeout=10) as answer:
                exam.say(f"{urls[name]}{path}: {answer.status}, {answer.read()[:80]!r}")
        start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        exam.until(lambda: exam.house.status()["complete"], 300, "complete")
        time.sleep(130)
        compare(exam, start)
        status = exam.house.status()
        exam.want(status["healthy"], f"not healthy: {status['processes']}")
        wrong = exam.wrong
    nobody = {"binance_url": "http://[::1]:9", "binance_stream_url": "ws://[::1]:9"}
    away = Exam("--venue", "binance", "--instruments", "2", **nobody)
    try:
        away.house.begin()
        away.until(lambda: "cannot be reached" in away.house.output.read_text(), 180, "`up` says it")
        status = away.house.status()
        said = away.house.command("status")
        away.say(f"status: exit {said.returncode}, healthy {status['healthy']}, {status['venue_trouble']}")
        away.want(not status["healthy"] and status["venue_trouble"], "status does not say that the venue is away")
        print(away.house.output.read_text())
        away.wrong += wrong
        return away.tell("ipv6")
    finally:
        away.house.stop()


def frames(given: argparse.Namespace) -> int:
    """REST is a correct replay exchange; the stream first sends 64 MB on every connection."""
    opened: list[float] = []
    with Replay(2) as exchange, flooding(opened) as stream:
        exam = Exam("--venue", "binance", "--instruments", "2", binance_url=exchange.url,
                    binance_archive_url=exchange.url, binance_stream_url=stream)  # fmt: skip
        try:
            exam.house.begin()
            exam.until(lambda: len(opened) > 3, 180, "the stream is opened again and again")
            time.sleep(given.minutes * 60)
            pid = exam.house.pid("ingest-0")
            proc = Path(f"/proc/{pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in proc.splitlines() if line.startswith("VmHWM"))
            pauses = [round(later - earlier, 1) for earlier, later in itertools.pairwise(opened)]
            status = exam.house.status()
            exam.say(f"peak {peak / 1024:.0f} MiB; {len(opened)} connections, pauses {pauses}")
            exam.say(f"state {exam.detail().get('state')}; healthy {status['healthy']}; alerts {exam.alerts()}")
            # without any frame the program holds 400: Dagster, features and polars
            exam.want(peak < 464 * 1024, f"peak {peak / 1024:.0f} MiB: more than one frame above what it holds anyway")
            exam.want(pauses[-1] > 10, "pauses do not grow")
            exam.want(any(name.startswith("stream") for name in exam.alerts()), "no alert")
            exam.want(exam.detail().get("state") != "live", "it says that it is live")
            return exam.tell(f"frames, {given.minutes} min")
        finally:
            exam.house.stop()


@contextmanager
def flooding(opened: list[float]) -> Iterator[str]:
    """A websocket server in a thread of its own; yields its address."""
    ready: queue.Queue[str] = queue.Queue()
    done = threading.Event()

    async def play(line: Line) -> None:
        opened.append(time.monotonic())
        with suppress(ConnectionError):
            await line.socket.send_bytes(bytes(64 << 20))

    async def serve() -> None:
        async with serving(play) as venue:
            ready.put(venue.url)
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        yield ready.get(timeout=30)
    finally:
        done.set()
        thread.join()
