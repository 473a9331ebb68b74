"""A whole `crypto-pipeline up` under fire, one exam at a time; each says what it saw and ends with 1 if it was wrong.

    python bench/under_fire.py failed-run [--minutes 30]   the run of a living ingest is marked failed, again and again
    python bench/under_fire.py two-homes [--minutes 8]     two data directories on one database
    python bench/under_fire.py instruments                 wrong, foreign and delisted ones added and removed
    python bench/under_fire.py launches [--runs 30]        so many runs launched while ingest is killed

Free ports, a data directory of its own, the generated market; everything is thrown away afterwards. ``--on DATA_DIR``
holds the last two on a deployment that runs already, which stays.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import psycopg
from common import load, machine, postgres, table
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from deployed import Deployed

from crypto_pipeline.defs.live_run import UNFINISHED
from crypto_pipeline.ops.places import Places
from crypto_pipeline.ops.programs import DAGSTER_URL_VARIABLE
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.urls import dagster_url

_LAUNCH = """mutation ($job: String!) { launchRun(executionParams: {runConfigData: {}, selector: {
  repositoryLocationName: "crypto_pipeline", repositoryName: "__repository__", jobName: $job}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


class Exam(Deployed):
    """A deployment, its Dagster instance, and what was found wrong."""

    def __init__(self, *options: str, name: str = "", **given: Any) -> None:
        super().__init__(*options, **given)
        self.name, self.wrong = name, list[str]()

    def say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {self.name}{text}", flush=True)

    def want(self, true: object, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)
            self.say(f"WRONG: {otherwise}")

    @classmethod
    @contextmanager
    def sitting(cls, *options: str, on: Path | None = None) -> Iterator[Self]:
        """Start a deployment and stop it afterwards; or take the one that runs ``on`` a data directory as it is."""
        exam = cls(*options)
        if on is not None:
            shutil.rmtree(exam.house.data_dir)
            exam.house.data_dir, exam.house.places = on, Places(on)
            yield exam
            return
        try:
            exam.start()
            yield exam
        finally:
            exam.house.stop()

    def start(self) -> None:
        self.house.start()
        self.say(f"healthy after {self.house.took:.1f} s (load {load()})")
        self.until(self.live, 120, "ingest is live")

    @contextmanager
    def dagster(self) -> Iterator[DagsterInstance]:
        """The instance of this deployment, as another process of it has it."""
        settings = load_settings(data_dir=self.house.data_dir)
        os.environ[DAGSTER_URL_VARIABLE] = dagster_url(settings, self.url)
        with DagsterInstance.from_config(str(self.house.places.dagster_home)) as instance:
            yield instance

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """As the UI asks."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        ui = f"{self.house.state.urls['ui']}/graphql"
        request = urllib.request.Request(ui, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        if "errors" in found:
            raise RuntimeError(str(found["errors"]))
        return dict(found["data"])

    def launch(self, job: str) -> str:
        """As a person does it in the UI."""
        found = self.graphql(_LAUNCH, job=job)["launchRun"]
        if found["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"{job} was not launched: {found}")
        return str(found["run"]["runId"])

    def alerts(self) -> dict[str, str]:
        """Open ones: what each says, by source and timeframe."""
        rows = self.store.checks.open_alerts().iter_rows(named=True)
        return {f"{row['source']} {row['timeframe']}".strip(): row["summary"] for row in rows}

    def tell(self, head: str) -> int:
        """The end of an exam: its machine, and its verdict."""
        print(f"\n{head}, {machine()}")
        print("WRONG: " + "; ".join(self.wrong) if self.wrong else "all as it should be", flush=True)
        return 1 if self.wrong else 0


# -- the run of a living ingest is marked failed ----------------------------------------------------------------------


def live_runs(instance: DagsterInstance, statuses: list[DagsterRunStatus] | None = None) -> list[DagsterRun]:
    chosen = RunsFilter(job_name="live_ingest", statuses=statuses or UNFINISHED)
    return list(instance.get_runs(chosen))


def mark_failed(exam: Exam, instance: DagsterInstance) -> None:
    """Mark the run of whoever holds the shard now."""
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
    began, start = time.monotonic(), datetime.now(UTC)
    share = minutes / 30
    mark_failed(exam, instance)  # nobody stands by
    steps = [  # minute of thirty, what
        (6, "a person launches five more"), (10, "marked, one stands by"), (16, "marked, the program stands by"),
        (21, "marked, nobody stands by"),
    ]  # fmt: skip
    most, looked = 0, 0.0
    while (passed := time.monotonic() - began) < minutes * 60:
        going = live_runs(instance, [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
        if passed > looked:
            looked = passed + 60
            status = exam.house.status()
            states = Counter(run.status.value for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)))
            exam.say(
                f"minute {passed / 60:.0f}: runs {dict(states)}, of ingest {len(going)}, stands by {standing_by(exam)}, healthy "
                f"{status['healthy']}, {status['incomplete_because']}, alerts {exam.alerts()}"
            )
            exam.want(status["healthy"], f"status is not healthy: {status['processes']}")
        if steps and passed > steps[0][0] * 60 * share:
            what = steps.pop(0)[1]
            exam.say(what)
            act_on_ingest(exam, instance, what)
            looked = 0.0
        if passed > 7.5 * 60 * share:
            most = max(most, len(going))
            exam.want(len(going) <= 2, f"{len(going)} runs of ingest at once")
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
    end = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    exam.want(not (wrong := exam.compare(start, end)), f"not as on the exchange's tape: {wrong}")
    exam.say(f"against the tape: {exam.counted}")


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
    """What each schedule and sensor did since."""
    rows = []
    for state in instance.all_instigator_state():
        found = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=start.timestamp())
        counts = Counter(tick.status.value for tick in found)
        rows.append([state.name, dict(counts)])
        if "FAILURE" in counts:
            exam.want(False, f"{state.name} failed: {[tick.error.message for tick in found if tick.error][:1]}")
    table(["schedule or sensor", "ticks"], sorted(rows))


# -- two data directories on one database -----------------------------------------------------------------------------


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
    """Process ids of everything supervised."""
    return {info.name: info.pid for info in exam.house.ask().processes}


def kill_of_two(one: Exam, two: Exam) -> None:
    """The holder's whole deployment dies by force; the other one's ingest takes over."""
    holder = one.detail()["pid"]
    for exam in (one, two):
        pid = exam.house.pid("ingest-0")
        if pid == holder:
            os.kill(pid, signal.SIGKILL)
            exam.say(f"killed ingest {pid}")
    took = one.until(lambda: one.live(holder), 120, "the other one's ingest is live")
    one.say(f"live again after {took:.1f} s under {one.detail()['holder']}")


# -- instruments that the venue does not have -------------------------------------------------------------------------

#: Mistyped; of another venue; of another venue and kind; delisted before what is collected begins.
STRANGERS = ("BTC-USTD", "XBT-USD", "BTC-USD-PERP", "EOS-USDT")
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('market', 'ops', 'research') AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
"""
_PARTITIONS = """{ assetNodes { assetKey { path } partitionStats { numFailed } } }"""
_CHECKS = """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name
  executionForLatestMaterialization { status evaluation { description metadataEntries { __typename label
  ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString }
  ... on TableMetadataEntry { table { records } } } } } } } } } }"""


def instruments(given: argparse.Namespace) -> int:
    with Exam.sitting("--instruments", "4", "--days", "3", on=given.on) as exam:
        exam.until(lambda: exam.house.status()["complete"], 300, "complete")
        before, start = picture(exam), datetime.now(UTC)
        added = []
        for name in STRANGERS:
            asked = exam.house.command("instruments", "add", name)
            exam.say(f"add {name}: {asked.returncode}, {(asked.stdout + asked.stderr).strip()}")
            forced = asked
            if asked.returncode:
                forced = exam.house.command("instruments", "add", "--force", name)
                exam.say(f"add --force {name}: {forced.returncode}, {(forced.stdout + forced.stderr).strip()}")
            added += [name] if 0 in (asked.returncode, forced.returncode) else []
        for _ in range(given.minutes):
            time.sleep(60)
            watch_strangers(exam, before)
        removed = exam.house.command("instruments", "remove", *added)
        exam.say(f"remove: {removed.returncode}, {(removed.stdout + removed.stderr).strip()}")
        took = exam.until(lambda: not remains(exam), 240, f"nothing is left; there is {remains(exam)}")
        exam.say(f"nothing was left {took:.0f} s after the removal")
        exam.want(took < 120, f"it took {took:.0f} s until nothing was left")
        watch_strangers(exam, before)
        with exam.dagster() as instance:
            failed = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE], created_after=start))
        exam.want(not failed, f"runs failed: {[(run.job_name, run.run_id) for run in failed]}")
        return exam.tell(f"instruments, {given.minutes} min")


def picture(exam: Exam) -> dict[str, Any]:
    """What is red: checks, asset checks, failed partitions, open alerts."""
    nodes = exam.graphql(_CHECKS)["assetNodes"]
    latest = {
        f"{node['assetKey']['path'][-1]}:{check['name']}": check["executionForLatestMaterialization"]
        for node in nodes
        for check in node["assetChecksOrError"].get("checks", [])
    }
    return {
        "checks": sorted(f"{row['check']} {row['timeframe']}" for row in exam.house.status()["checks"]["failing"]),
        "asset checks": sorted(name for name, one in latest.items() if one and "FAILED" in one["status"]),
        "partitions": {
            node["assetKey"]["path"][-1]: node["partitionStats"]["numFailed"]
            for node in exam.graphql(_PARTITIONS)["assetNodes"]
            if node["partitionStats"] and node["partitionStats"]["numFailed"]
        },
        "alerts": sorted(exam.alerts()),
    }


def watch_strangers(exam: Exam, before: dict[str, Any]) -> None:
    now, status = picture(exam), exam.house.status()
    exam.say(f"healthy {status['healthy']}, complete {status['complete']} {status['incomplete_because']}, red: {now}")
    exam.want(status["healthy"], f"not healthy: {status['processes']}")
    for what, red in now.items():
        exam.want(red == before[what], f"{what} turned red: {red}, before {before[what]}")


def remains(exam: Exam) -> dict[str, int]:
    """Rows of ours, and texts of status and of Dagster's checks, that name a stranger; closed alerts are history."""
    found: dict[str, int] = {}
    with psycopg.connect(exam.url) as connection:
        for (name,) in connection.execute(_TABLES).fetchall():
            only = "AND resolved_at IS NULL" if name == "ops.alerts" else ""
            query = f"SELECT count(*) FROM {name} t WHERE t::text ~ %s {only}"
            row = connection.execute(query, ["|".join(STRANGERS)]).fetchone()  # type: ignore[arg-type]
            if row and row[0]:
                found[name] = row[0]
    texts = {"status": exam.house.command("status").stdout, "Dagster's checks": json.dumps(exam.graphql(_CHECKS))}
    for what, text in texts.items():
        if count := sum(text.count(name) for name in STRANGERS):
            found[what] = count
    return found


# -- many launches at once --------------------------------------------------------------------------------------------


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    exams = parser.add_subparsers(required=True)
    chosen = exams.add_parser("failed-run")
    chosen.add_argument("--minutes", type=float, default=30)
    chosen.set_defaults(exam=failed_run)
    chosen = exams.add_parser("two-homes")
    chosen.add_argument("--minutes", type=float, default=8)
    chosen.set_defaults(exam=two_homes)
    for name, exam in (("instruments", instruments), ("launches", launches)):
        chosen = exams.add_parser(name)
        chosen.add_argument("--on", type=Path, metavar="DATA_DIR")
        chosen.set_defaults(exam=exam)
        if name == "launches":
            chosen.add_argument("--runs", type=int, default=30)
        else:
            chosen.add_argument("--minutes", type=int, default=2)
    given = parser.parse_args()
    sys.exit(given.exam(given))


if __name__ == "__main__":
    main()
