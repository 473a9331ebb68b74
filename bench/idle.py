"""What a deployment costs while nothing happens: processor time and memory of every program over ten minutes.

    python bench/idle.py [--instruments 20] [--days 7] [--settle 4] [--minutes 10] [--sources] [--keep]

``up`` on the generated market, a data directory of its own. Once the database is complete and every check has passed,
``--settle`` minutes pass; then the processes are looked at for ``--minutes``. Processor time is user and system time of
each program and of its children, also of ended ones, as the kernel counts them; memory is PSS, in which shared pages
count once, every ten seconds. Goals: 12 % of one core and 1.2 GiB at most.

``--sources``: 20 crypto instruments of two venues, ten stocks and five macro series.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from common import MIB, load, machine, table
from first_minutes import Watch

from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline.store import EmbeddedServer

#: Seconds between two looks at memory.
_EVERY = 10.0
_RUNS = """
SELECT pipeline_name, coalesce(run_body::json->'tags'->>'processor', ''), count(*), min(status),
       round(coalesce(sum(end_time - start_time), 0)::numeric, 1)::float8
FROM runs WHERE create_timestamp AT TIME ZONE 'UTC' >= to_timestamp(%s) GROUP BY 1, 2 ORDER BY 3 DESC, 1
"""
_TICKS = """
SELECT coalesce(i.instigator_body::json->'origin'->>'instigator_name', t.tick_body::json->>'instigator_name'), t.type,
       count(*), count(*) FILTER (WHERE t.status = 'SUCCESS'), count(*) FILTER (WHERE t.status = 'FAILURE')
FROM job_ticks t LEFT JOIN instigators i USING (selector_id)
WHERE t.timestamp AT TIME ZONE 'UTC' >= to_timestamp(%s) GROUP BY 1, 2 ORDER BY 3 DESC
"""
_SESSIONS = "SELECT datname, sessions FROM pg_stat_database WHERE datname IN ('crypto_pipeline', 'dagster')"
_STATEMENTS = """
SELECT d.datname, s.calls, s.total_exec_time + s.total_plan_time AS ms, left(regexp_replace(s.query, '\\s+', ' ', 'g'),
       100)
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid ORDER BY 3 DESC LIMIT 25
"""


@dataclass
class Used:
    """Of one program: seconds of its processes that live, seconds of ended children, and PSS at each look, in MiB."""

    own: float = 0.0
    ended: float = 0.0
    pss: list[float] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


class AtRest(Watch):
    """One `up` that is waited for until its database is complete, whether or not there are labels yet."""

    def research(self, url: str) -> bool:
        """Do not wait for features and labels."""
        return True


class Deployed:
    """The programs of one `up` and their processes."""

    def __init__(self, watch: AtRest) -> None:
        self._up = watch.process
        state = running_state(Places(watch.folder))
        assert state is not None
        self._socket, self._supervisord = state.supervisor_socket, state.supervisord_pid

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Living processes of each program, by its name."""
        programs = {info.pid: info.name for info in Supervisord(self._socket).processes() if info.pid}
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        found["up"].append(self._up)
        for child in self._up.children():
            found["supervisord"].append(child)
            for program in child.children():
                name = programs.get(program.pid, "other")
                found[name].append(program)
                for each in program.children(recursive=True):
                    found[_part(name, each)].append(each)
        return found

    def seconds(self) -> dict[str, tuple[float, float]]:
        """Seconds since each program began, of its living processes and of their ended children."""
        used: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for name, processes in self.processes().items():
            for process in processes:
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                used[name][0] += times.user + times.system
                used[name][1] += times.children_user + times.children_system
        return {name: (own, ended) for name, (own, ended) in used.items()}

    def memory(self) -> dict[str, tuple[int, int]]:
        """PSS in bytes and number of processes of each program."""
        found: dict[str, tuple[int, int]] = {}
        for name, processes in self.processes().items():
            each = [_pss(process.pid) for process in processes]
            found[name] = sum(each), len(each)
        return found


def _part(program: str, process: psutil.Process) -> str:
    """Name of a child's row: runs and their fork server stand apart from the code server."""
    if program != "code-server":
        return program
    try:
        if "resource_tracker" in " ".join(process.cmdline()):
            return program
        # The code server forks the fork server, which forks the runs.
        grandparent = process.parents()[1]
        return "fork server" if "supervisor_program" in " ".join(grandparent.cmdline()) else "runs"
    except (psutil.Error, IndexError):
        return "runs"


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def measure(deployed: Deployed, minutes: float) -> tuple[dict[str, Used], float]:
    """Look for ``minutes``; return what each program used, and how many seconds passed."""
    used: dict[str, Used] = defaultdict(Used)
    before, began = deployed.seconds(), time.monotonic()
    while (now := time.monotonic()) - began < minutes * 60:
        seen = deployed.memory()
        looks = max((len(each.pss) for each in used.values()), default=0)
        for name in seen.keys() | used.keys():
            one = used[name]
            one.pss += [0.0] * (looks - len(one.pss))  # a program without a process at earlier looks
            size, number = seen.get(name, (0, 0))
            one.pss.append(size / MIB)
            one.processes.append(number)
        time.sleep(max(0.0, _EVERY - (time.monotonic() - now)))
    after, took = deployed.seconds(), time.monotonic() - began
    for name, (own, ended) in after.items():
        first = before.get(name, (0.0, 0.0))
        used[name].own, used[name].ended = own - first[0], ended - first[1]
    return used, took


def tell(used: dict[str, Used], took: float) -> None:
    """Print the table of programs."""
    rows = []
    for name, one in sorted(used.items(), key=lambda each: -(each[1].own + each[1].ended)):
        share = (one.own + one.ended) / took * 100
        rows.append(
            [name, f"{one.own:.1f}", f"{one.ended:.1f}", f"{share:.1f}", f"{statistics.mean(one.pss):.0f}",
             f"{max(one.pss):.0f}", f"{statistics.mean(one.processes):.1f}"]
        )  # fmt: skip
    own, ended = sum(one.own for one in used.values()), sum(one.ended for one in used.values())
    totals = [sum(look) for look in zip(*(one.pss for one in used.values()), strict=False)]
    rows.append(
        ["**together**", f"{own:.1f}", f"{ended:.1f}", f"**{(own + ended) / took * 100:.1f}**",
         f"**{statistics.mean(totals):.0f}**", f"{max(totals):.0f}",
         f"{sum(statistics.mean(one.processes) for one in used.values()):.1f}"]
    )  # fmt: skip
    head = ["program", "CPU s", "of ended children", "% of one core", "PSS MiB, mean", "most", "processes"]
    table(head, rows)


def explain(folder: Path, since: float, sessions: dict[str, int]) -> None:
    """Print what ran: runs, ticks, statements, and new database ``sessions`` since their numbers."""
    opened = {name: number - sessions.get(name, 0) for name, number in opened_sessions(folder).items()}
    print(f"\nNew sessions by database: {opened}")
    with psycopg.connect(EmbeddedServer(folder).url("dagster")) as connection:
        print("\nRuns:\n")
        table(["job", "processor", "runs", "status", "seconds"], connection.execute(_RUNS, [since]).fetchall())
        print("\nTicks:\n")
        table(["of", "type", "ticks", "that did something", "failed"], connection.execute(_TICKS, [since]).fetchall())
        idle = (
            "SELECT datname, application_name, state, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL "
            "GROUP BY 1, 2, 3 ORDER BY 4 DESC"
        )
        print("\nSessions:\n")
        table(["database", "application", "state", "sessions"], connection.execute(idle).fetchall())
    with psycopg.connect(EmbeddedServer(folder).url()) as connection:
        print("\nStatements:\n")
        rows: list[Any] = connection.execute(_STATEMENTS).fetchall()
        table(["database", "calls", "ms", "statement"], [[*row[:2], f"{row[2]:.0f}", row[3]] for row in rows])


def opened_sessions(folder: Path) -> dict[str, int]:
    """How many sessions each database has had."""
    with psycopg.connect(EmbeddedServer(folder).url("postgres")) as connection:
        return dict(connection.execute(_SESSIONS).fetchall())


def reset(folder: Path) -> None:
    """Forget the statements that were counted before."""
    with psycopg.connect(EmbeddedServer(folder).url()) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")


def main() -> None:
    """Run the bench with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instruments", default="20")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--settle", type=float, default=4.0, help="minutes between complete and the first look")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--patience", type=float, default=600)
    parser.add_argument("--hold", help="wait until this file is gone before everything is stopped")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cp-idle-"))
    watch = AtRest(folder, options)
    try:
        if not watch.follow(options.patience):
            raise SystemExit(f"not complete after {options.patience:.0f} s: {(folder / 'output').read_text()}")
        print(json.dumps({name: round(at, 1) for name, at in watch.marks.items()}), f"load {load()}", flush=True)
        time.sleep(options.settle * 60)
        deployed = Deployed(watch)
        reset(folder)
        since, sessions = time.time(), opened_sessions(folder)
        used, took = measure(deployed, options.minutes)
        print(f"\n{machine()}\n")
        tell(used, took)
        explain(folder, since, sessions)
        while options.hold and Path(options.hold).exists():
            time.sleep(1)
    finally:
        watch.stop()
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
