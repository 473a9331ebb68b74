"""Exams of under_fire.py around ingest: runs marked failed, two data directories, many launches, everything killed."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from common import load, postgres, table
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from fire_exam import Exam, compare

from crypto_pipeline.defs.base.runs import UNFINISHED


def live_runs(instance: DagsterInstance, statuses: list[DagsterRunStatus] | None = None) -> list[DagsterRun]:
    chosen = RunsFilter(job_name="live_ingest", statuses=statuses or UNFINISHED)
    return list(instance.get_runs(chosen))


def mark_failed(exam: Exam, instance: DagsterInstance) -> None:
    """Mark the run of the shard's current holder as failed."""
    holder = exam.detail()["holder"]
    runs = live_runs(instance, [DagsterRunStatus.STARTED])
    shown = [run for run in runs if run.run_id == holder] or [
        run for run in runs if "crypto_pipeline/worker" in run.tags
    ]
    instance.report_run_failed(shown[0], "marked by the exam, while its ingest lives")
    exam.say(f"marked {shown[0].run_id} failed; its holder is {holder}")


def failed_run(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "4", "--days", "3") as exam:
        time.sleep(60)
        with exam.dagster() as instance:
            watch_failed_run(exam, instance, given.minutes)
        return exam.tell(f"failed-run, {given.minutes:.0f} min")


def watch_failed_run(exam: Exam, instance: DagsterInstance, minutes: float) -> None:
    began, start = time.monotonic(), datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    share = minutes / 30
    mark_failed(exam, instance)  # nobody stands by
    steps = [  # minute of thirty, what
        (6, "a person launches five more"), (10, "marked, one stands by"), (16, "marked, the program stands by"),
        (21, "marked, nobody stands by"),
    ]  # fmt: skip
    most, looked, crowded = 0, 0.0, time.monotonic()
    while (passed := time.monotonic() - began) < minutes * 60:
        going = live_runs(instance, [DagsterRunStatus.STARTED])
        if passed > looked:
            looked = passed + 60
            status = exam.house.status()
            states = Counter(run.status.value for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)))
            exam.say(
                f"minute {passed / 60:.0f}: runs {dict(states)}, of ingest {len(going)}, "
                f"stands by {standing_by(exam)}, healthy {status['healthy']}, {status['incomplete_because']}, "
                f"alerts {exam.alerts()}"
            )
            exam.want(status["healthy"], f"status is not healthy: {status['processes']}")
        if steps and passed > steps[0][0] * 60 * share:
            what = steps.pop(0)[1]
            exam.say(what)
            act_on_ingest(exam, instance, what)
            looked = 0.0
        if passed > 7.5 * 60 * share:
            most = max(most, len(going))
            # one ingests, one stands by; a third that was let in meanwhile sees that and ends
            crowded = time.monotonic() if len(going) <= 2 else crowded
            exam.want(time.monotonic() - crowded < 60, f"{len(going)} runs of ingest at once")
        time.sleep(2)
    others = Counter(
        (run.job_name, run.status.value) for run in instance.get_runs(RunsFilter(created_after=start))
    )  # fmt: skip
    exam.say(f"at most {most} runs of ingest at once; alerts at the end {exam.alerts()}")
    table(["job", "status", "runs"], [[*key, count] for key, count in sorted(others.items())])
    ticks(exam, instance, start)
    waiting = Counter(run.job_name for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED])))
    exam.say(f"runs that wait: {dict(waiting)}")
    exam.want(waiting.total() - waiting["live_ingest"] < 4, "runs wait")
    exam.want(not any(name.startswith("run:") for name in exam.alerts()), f"alerts are open: {exam.alerts()}")
    compare(exam, start)


def standing_by(exam: Exam) -> str | None:
    return next((row.waiting for row in exam.store.leases.rows() if row.name == "ingest-0"), None)


def act_on_ingest(exam: Exam, instance: DagsterInstance, what: str) -> None:
    if what.startswith("a person"):
        asked = [exam.launch("live_ingest") for _ in range(5)]
        took = exam.until(lambda: standing_by(exam), 240, "one of the five stands by")
        exam.say(f"{standing_by(exam)} stands by after {took:.0f} s")
        exam.want(standing_by(exam) in asked, "who stands by is none of the five")
        return
    before = exam.detail()["holder"]
    mark_failed(exam, instance)
    if "nobody" in what:
        time.sleep(30)
        exam.want(exam.detail()["holder"] == before and exam.live(), "the holder did not go on")
        return
    took = exam.until(lambda: exam.live() and exam.detail()["holder"] != before, 120, "the holder handed over")
    exam.say(f"handed over to {exam.detail()['holder']} and live after {took:.1f} s")


def ticks(exam: Exam, instance: DagsterInstance, start: datetime) -> None:
    """Ticks of each schedule and sensor since then."""
    rows = []
    for state in instance.all_instigator_state():
        found = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=start.timestamp())
        counts = Counter(tick.status.value for tick in found)
        rows.append([state.name, dict(counts)])
        if "FAILURE" in counts:
            exam.want(False, f"{state.name} failed: {[tick.error.message for tick in found if tick.error][:1]}")
    table(["schedule or sensor", "ticks"], sorted(rows))


def two_homes(given: argparse.Namespace) -> int:
    with postgres() as server:
        url = server.url("market_of_two")
        one, two = (Exam("--instruments", "3", name=f"{name}: ", url=url) for name in ("one", "two"))
        try:
            one.start()
            two.house.start()
            two.say(f"healthy after {two.house.took:.1f} s")
            watch_two(one, two, given.minutes)
            one.wrong += two.wrong
            return one.tell(f"two-homes, {given.minutes:.0f} min")
        finally:
            two.house.stop()
            one.house.stop()


def watch_two(one: Exam, two: Exam, minutes: float) -> None:
    start = datetime.now(UTC)
    pids = {exam.name: programs(exam) for exam in (one, two)}
    with one.dagster() as instance:
        for part in range(int(minutes)):
            time.sleep(60)
            for exam in (one, two):
                status = exam.house.status()
                exam.say(f"minute {part + 1}: healthy {status['healthy']}, {status['incomplete_because']}")
                exam.want(status["healthy"], f"not healthy: {status['processes']}")
            going = Counter(
                (run.job_name, run.status.value) for run in instance.get_runs(RunsFilter(statuses=UNFINISHED))
            )
            one.say(f"runs {dict(going)}; holder {one.detail().get('holder')}; alerts {one.alerts()}")
            if part == int(minutes) // 2:
                kill_of_two(one, two)
                pids = {exam.name: programs(exam) for exam in (one, two)}
        others = Counter((run.job_name, run.status.value) for run in instance.get_runs(RunsFilter(created_after=start)))
        table(["job", "status", "runs"], [[*key, count] for key, count in sorted(others.items())])
    for exam in (one, two):
        exam.want(programs(exam) == pids[exam.name], f"restarted: {pids[exam.name]}, {programs(exam)}")
        print(exam.house.output.read_text())


def programs(exam: Exam) -> dict[str, int | None]:
    """Process ids of all supervised programs."""
    return {info.name: info.pid for info in exam.house.ask().processes}


def kill_of_two(one: Exam, two: Exam) -> None:
    """Kill the holder's whole deployment; the other deployment's ingest must take over."""
    holder = one.detail()["pid"]
    for exam in (one, two):
        pid = exam.house.pid("ingest-0")
        if pid == holder:
            os.kill(pid, signal.SIGKILL)
            exam.say(f"killed ingest {pid}")
    took = one.until(lambda: one.live(holder), 120, "the other one's ingest is live")
    one.say(f"live again after {took:.1f} s under {one.detail()['holder']}")


def launches(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "4", "--days", "3", on=given.on) as exam:
        exam.until(exam.live, 60, "ingest is live")
        before = exam.house.pid("ingest-0")
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(exam.launch, "fill_gaps") for _ in range(given.runs)]
            exam.until(lambda: sum(one.done() for one in asked) >= given.runs // 3, 120, "a third is launched")
            os.kill(before, signal.SIGKILL)
            killed = time.monotonic()
            took = exam.until(lambda: exam.live(before), 180, "ingest is live again")
            busy = load()
            runs = [one.result() for one in asked]
        with exam.dagster() as instance:
            done = exam.until(lambda: not unfinished(instance, runs), 900, "all runs ended")
            ended = Counter(run.status.value for run in instance.get_runs(RunsFilter(run_ids=runs)))
        exam.say(
            f"{given.runs} runs launched from 0 s on; ingest killed at {killed - began:.1f} s, live {took:.1f} s later "
            f"(load {busy}); all runs over {done:.0f} s after that: {dict(ended)}"
        )
        exam.want(took < 60, f"ingest took {took:.1f} s")
        exam.want(ended == {"SUCCESS": given.runs}, f"runs ended as {dict(ended)}")
        return exam.tell(f"launches, {given.runs} runs")


def unfinished(instance: DagsterInstance, runs: list[str]) -> int:
    return instance.get_runs_count(RunsFilter(run_ids=runs, statuses=UNFINISHED))


def kills(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "8", "--days", "2") as exam:
        exam.until(lambda: exam.house.status()["complete"], 600, "complete")
        rows = []
        for hogs, most in ((0, 30), (given.hogs, 60)):
            with hog(hogs):
                time.sleep(10 if hogs else 0)
                took = [kill_all(exam, wait=not hogs) for _ in range(given.times)]
            rows.append([hogs, given.times, f"{statistics.median(took):.1f}", f"{max(took):.1f}", load()])
            exam.want(max(took) < most, f"beside {hogs} hogs ingest took {max(took):.1f} s")
        table(["hogs", "kills", "live again s, median", "most", "load"], rows)
        return exam.tell(f"kills, {given.times} each")


def kill_all(exam: Exam, *, wait: bool) -> float:
    """SIGKILL for everything below `up`; seconds until a new ingest is live. ``wait``: until all is healthy again."""
    before = exam.detail()["pid"]
    pids = [exam.house.pid("supervisord"), *(pid for pid in programs(exam).values() if pid)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    took = exam.until(lambda: exam.live(before), 300, "a new ingest is live")
    said = f"all healthy after {took + exam.house.await_healthy(600):.1f} s" if wait else "not waited for the others"
    exam.say(f"{len(pids)} killed: live after {took:.1f} s, {said} (load {load()})")
    time.sleep(5)
    return took


@contextmanager
def hog(number: int) -> Iterator[None]:
    """Processes that only use processor time."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
