"""Two Celery workers, one of which is killed again and again while live ingest and other runs go on among them.

    python bench/celery_kills.py [--kills 50] [--instruments 8] [--days 5] [--runs 6] [--away 20]

A whole deployment on the generated market hands its runs over redis to two workers with data directories of their own;
live bars are made by runs too. Runs of several jobs are asked for all the time. A worker is killed by SIGKILL, in turn
the one that ingests and the other; it is started again after a second, every second time after ``--away`` seconds, so
that somebody else must go on. Timed: until every run that it worked on has a successor that began, or ended by itself
before; for ingest: until a shard is live again in another run. In the end no run may be unfinished without a worker,
trades and bars must equal the exchange's tape, and history must be complete.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from celery_parts import Worker, redis
from common import load, numbers, table
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from fire_exam import Exam, compare

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER

JOBS = ("fill_gaps", "refresh_today", "historical_sync_replay", "measure_storage", "fill_gaps", "refresh_recent")
STEPS = {
    "PIPELINE_FAILURE": "lost",
    "PIPELINE_SUCCESS": "done",
    "PIPELINE_ENQUEUED": "queued",
    "PIPELINE_STARTING": "handed over",
    "PIPELINE_START": "begun",
    "STEP_START": "works",
}
WORKING = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
UNFINISHED = [*WORKING, DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.CANCELING]


class Killing(Exam):
    """The deployment, its two workers, and what was timed."""

    def __init__(self, given: argparse.Namespace, broker: str) -> None:
        super().__init__(
            "--instruments", str(given.instruments), "--days", str(given.days), celery_broker_url=broker,
            ingest_by_runs="true", replay_intensity="5",
        )  # fmt: skip
        self.given, self.broker = given, broker
        self.workers: list[Worker] = []
        self.took: dict[str, list[float]] = {"ingest live again": [], "other runs replaced": []}
        self.lost: Counter[str] = Counter()
        self.over = threading.Event()

    def begin(self) -> None:
        self.house.begin()
        self.house.await_healthy(180)
        self.say(f"healthy (load {load()})")
        self.workers = [Worker(self, name, self.broker, self.given.runs) for name in ("one", "two")]
        self.until(self.live, 180, "ingest is live on a worker")
        threading.Thread(target=self._ask_for_runs, daemon=True).start()

    def both_work(self) -> bool:
        rows = {row.name: row for row in self.store.heartbeats.all("run-worker:%")}
        found = [rows.get(f"run-worker:{one.name}") for one in self.workers]
        return all(
            row is not None and row.age < 5 and row.holder == one.identity
            for row, one in zip(found, self.workers, strict=True)
        )

    def _ask_for_runs(self) -> None:
        number = 0
        while not self.over.wait(1.0):
            with suppress(Exception), self.dagster() as instance:
                while not self.over.wait(0.5):
                    if instance.get_runs_count(RunsFilter(statuses=UNFINISHED)) < 8:
                        self.launch(JOBS[number % len(JOBS)])
                        number += 1

    def strike(self, instance: DagsterInstance, number: int) -> None:
        """Kill one worker, while the other one is there, and wait until everything that it did goes on elsewhere."""
        self.until(self.both_work, 120, "both workers are there")
        held = self.detail().get("holder", "")
        run = instance.get_run_by_id(held)
        ingests = next((one for one in self.workers if run and one.identity in run.tags.get(WORKER, "")), None)
        victim = ingests if ingests and number % 2 == 0 else self.workers[number % 2]
        identity = victim.identity
        victims = [
            one for one in instance.get_runs(RunsFilter(statuses=WORKING)) if identity in one.tags.get(WORKER, "")
        ]
        away = 1.0 if number % 4 < 2 else self.given.away
        victim.kill(away)
        killed, at = time.monotonic(), time.time()
        said = []
        others = [one for one in victims if one.job_name != "live_ingest"]
        waiting = {one.run_id: one for one in others}
        ingest = any(one.run_id == held for one in victims)
        while (waiting or ingest) and time.monotonic() - killed < 120:
            if ingest and self.live() and self.detail().get("holder") != held:
                ingest = False
                self.took["ingest live again"].append(time.monotonic() - killed)
                said.append(f"ingest live after {self.took['ingest live again'][-1]:.1f} s")
            for one in list(waiting.values()):
                if _goes_on(instance, one):
                    del waiting[one.run_id]
                    self.took["other runs replaced"].append(time.monotonic() - killed)
            time.sleep(0.1)
        self.lost.update(one.job_name for one in victims)
        for one in waiting.values():
            self.say(_story(instance, one.run_id))
        self.want(not waiting and not ingest, f"kill {number}: {len(waiting)} runs and ingest={ingest} not replaced")
        if others:
            said.append(f"{len(others)} other runs go on after {time.monotonic() - killed:.1f} s at most")
        self.say(f"kill {number + 1}, {victim.name}, away {away:g} s: {'; '.join(said) or 'it had nothing to do'}")
        for one in victims:
            self.say(f"    {one.job_name}: {_steps(instance, one, at)}")
        if (left := away + 4 - (time.monotonic() - killed)) > 0:
            time.sleep(left)
        self.until(lambda: self.live(), 60, "ingest is live")

    def history(self) -> None:
        """Compare all 1m bars of the days before with the exchange."""
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start, wrong, seen = end - timedelta(days=self.given.days - 1), 0, 0
        for symbol in self.symbols:
            bars = self.store.reader.read([symbol], Timeframe.M1, start, end).select("open_time", "open", "close")
            own = {round(at.timestamp() * 1000): (first, last) for at, first, last in bars.iter_rows()}
            at = start
            while at < end:
                upto = min(end, at + timedelta(minutes=1000))
                true = self.true_bars(symbol, at, upto)
                wrong += sum(own.get(minute) != (row[0], row[3]) for minute, row in true.items())
                seen += len(true)
                at = upto
        self.want(not wrong and seen, f"{wrong} of {seen} bars of history differ")
        self.say(f"history: {seen:,} bars equal")

    def finish(self, instance: DagsterInstance) -> None:
        self.over.set()
        others = RunsFilter(statuses=UNFINISHED)

        def left() -> list[DagsterRun]:
            return [run for run in instance.get_runs(others) if run.job_name != "live_ingest"]

        self.until(lambda: not left(), 240, "every run has ended")
        ended = Counter(run.status.value for run in instance.get_runs() if run.job_name != "live_ingest")
        self.say(f"runs: {dict(ended)}; lost with their worker: {dict(self.lost)}")


def _goes_on(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether the run ended by itself, or has a successor that began, or that has one."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status is DagsterRunStatus.SUCCESS:
        return True
    after = instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run.run_id}))
    return any(one.status is DagsterRunStatus.STARTED or _goes_on(instance, one) for one in after)


def _steps(instance: DagsterInstance, run: DagsterRun, killed: float) -> str:
    """When a run was told lost, asked for again, handed over and begun, in seconds after the kill."""

    def steps(run_id: str) -> Iterator[str]:
        for record in instance.get_records_for_run(run_id).records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.event_type_value in STEPS:
                yield f"{STEPS[event.event_type_value]} {record.event_log_entry.timestamp - killed:.1f}"

    told = [one for one in steps(run.run_id) if one.startswith(("lost", "done"))]
    after = instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run.run_id}), limit=1)
    return ", ".join([*told, *(step for one in after for step in steps(one.run_id) if not step.startswith("done"))])


def _story(instance: DagsterInstance, run_id: str) -> str:
    """What Dagster knows of a run that has no successor."""
    run = instance.get_run_by_id(run_id)
    after = instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run_id}))
    last = [record.event_log_entry for record in instance.get_records_for_run(run_id).records][-6:]
    lines = [f"{datetime.fromtimestamp(one.timestamp, UTC):%H:%M:%S} {one.message[:90]}" for one in last]
    return f"{run and (run.job_name, run.status.value, run.tags)}: {[one.status.value for one in after]}; {lines}"


def main(given: argparse.Namespace) -> int:
    with redis() as broker:
        exam = Killing(given, broker)
        try:
            exam.begin()
            began = Timeframe.M1.ceil(datetime.now(UTC))
            with exam.dagster() as instance:
                for number in range(given.kills):
                    exam.strike(instance, number)
                exam.finish(instance)
                exam.history()
                compare(exam, began)
            rows = [
                [what, len(took), f"{statistics.median(took):.1f}", f"{max(took):.1f}"]
                for what, took in exam.took.items()
                if took
            ]
            table(["after the kill of a worker", "times", "median s", "most s"], rows)
            exam.want(all(max(took) < 30 for took in exam.took.values() if took), "slower than 30 s")
            return exam.tell(f"two Celery workers, {given.kills} kills")
        finally:
            for worker in exam.workers:
                worker.stop()
            exam.house.stop()


if __name__ == "__main__":
    sys.exit(main(numbers(__doc__, kills=50, instruments=8, days=5, runs=6, away=20.0).parse_args()))
