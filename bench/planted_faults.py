"""Fifteen faults on a real deployment: each must turn exactly its check bad, and its alert must arrive once.

    python bench/planted_faults.py [--instruments 20] [--only ingest,clock]

`up` runs with the notifier and a stub of Slack. Each fault is planted where it happens: a program is stopped, the
database is taken away or made read-only, the disk is filled (the data directory is a small file system of its own,
which takes root), the exchange stops a symbol, rows are changed. Measured: seconds until the check is bad and until the
message is at the stub; seconds until the recovery message after the repair.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import machine, table
from deployed import Deployed

from crypto_pipeline.ops.checks.registry import is_operational
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.ops.supervision.health import request
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline.store.database.connect import connect, database_name, with_database
from crypto_pipeline.store.operations.check_states import read_states
from crypto_pipeline_tests.builders.slack_stub import SlackStub
from crypto_pipeline_tests.moved_clock import library

#: A silent instrument is bad after this many seconds; by default 300.
_FRESH = 90
_LOCATION = {"repositoryLocationName": "crypto_pipeline", "repositoryName": "__repository__"}


_DAYS = "timeframe = '1m' AND day >= (market.now() AT TIME ZONE 'UTC')::date - 1"
_GAP = """
INSERT INTO market.gaps (instrument_id, timeframe, start_time, end_time, bars, state, first_seen, next_attempt)
SELECT instrument_id, '1m', date_trunc('hour', now()) - interval '30 days',
       date_trunc('hour', now()) - interval '719 hours', 60, 'lost', now() - interval '1 hour', now() + interval '1 day'
FROM market.instruments WHERE active ORDER BY 1 LIMIT 1
"""
_NO_GAP = "DELETE FROM market.gaps WHERE start_time < now() - interval '20 days'"
_LESS = f"UPDATE market.coverage SET expected = present + explained + 60 WHERE {_DAYS}"
_ALL = f"UPDATE market.coverage SET expected = present + explained WHERE {_DAYS}"
_NEW = "open_time > now() - interval '2 hours'"
_KEEP_FEATURES = f"CREATE TABLE public.kept AS SELECT * FROM research.ml_features WHERE {_NEW}"
_NO_FEATURES = f"DELETE FROM research.ml_features WHERE {_NEW}"
_FEATURES = "INSERT INTO research.ml_features SELECT * FROM public.kept ON CONFLICT DO NOTHING"
_DROP_FEATURES = "DROP TABLE public.kept"


@dataclass
class Fault:
    """A fault: the check that it turns bad, how it is planted and how it is repaired; ``slow``: extra seconds until
    the fault is one by its threshold; ``healed``: the pipeline heals it within seconds, so it is planted repeatedly.
    """

    name: str
    check: str
    plant: Callable[[], object]
    repair: Callable[[], object]
    slow: float = 0.0
    healed: bool = False


class Bench:
    """One deployment and its stub."""

    def __init__(self, instruments: int, stub: SlackStub, second: SlackStub, folder: Path) -> None:
        self.stub, self.second = stub, second
        tempfile.tempdir = str(folder)
        self.up = Deployed(
            "--instruments", str(instruments), "--days", "3",
            slack_webhook=f"{stub.url}/webhook", freshness_ok=str(_FRESH), freshness_warn="200",
            dead_man_url=f"{second.url}/ping", dead_man_seconds="10",
            apprise_urls=f"json://127.0.0.1:{second.url.rpartition(':')[2]}/second",
        )  # fmt: skip
        tempfile.tempdir = None
        self.house = self.up.house
        self._clock: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    def supervisord(self) -> Supervisord:
        return Supervisord(self.house.state.supervisor_socket)

    def sql(self, *statements: str) -> list[Any]:
        with connect(self.up.url) as connection:
            connection.execute("SET default_transaction_read_only = off")
            for statement in statements:
                done = connection.execute(statement)
            return done.fetchall() if done.description else []

    def bad(self) -> set[str]:
        """Names of the operational checks that are stored as bad, or bad by the notifier's journal."""
        try:
            with connect(self.up.url, timeout=2) as connection:
                rows = read_states(connection)
            return {row.source for row in rows if row.status == "bad" and is_operational(row.source) and row.age < 60}
        except Exception:
            return set()

    def graphql(self, query: str, variables: dict[str, Any]) -> Any:
        url = self.house.state.urls["ui"] + "/graphql"
        code, body = request("POST", url, {"query": query, "variables": variables}, 60)
        assert code == 200, body
        return json.loads(body)

    # -- plants ---------------------------------------------------------------------------------------------------

    def stop(self, name: str) -> None:
        self.supervisord().stop(name)

    def start(self, name: str) -> None:
        self.supervisord().start(name)

    def read_only(self, on: bool) -> None:
        name = database_name(self.up.url)
        with connect(with_database(self.up.url, "postgres")) as admin:
            admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if on else "off"}')
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )

    def fill(self) -> None:
        usage = shutil.disk_usage(self.house.data_dir)
        size = usage.free - int(usage.total * 0.048)
        with (self.house.data_dir / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def unfill(self) -> None:
        (self.house.data_dir / "filler").unlink()

    def silence(self) -> None:
        symbol = self.up.symbols[-1]
        self.up.fault(
            [
                {"kind": "ws_freeze", "seconds": 3600, "symbol": symbol},
                {"kind": "ws_drop", "probability": 1.0, "symbol": symbol},
                {"kind": "server_error", "symbol": symbol},
            ]
        )

    def move_clock(self) -> None:
        self.stop("notifier")
        environment = self.house.environment | {
            "LD_PRELOAD": str(library(Path(tempfile.mkdtemp()))), "MOVED_CLOCK_SECONDS": "-10",
        }  # fmt: skip
        while any(info.name == "notifier" and info.pid for info in self.supervisord().processes()):
            time.sleep(0.2)
        self._clock = subprocess.Popen([sys.executable, "-m", "crypto_pipeline.ops.alerting.notifier"], env=environment)

    def right_clock(self) -> None:
        assert self._clock is not None
        self._clock.terminate()
        self._clock.wait(20)
        self.start("notifier")

    def fail_backup(self) -> None:
        folder = self.house.data_dir / "backups"
        if folder.exists():
            folder.rename(folder.with_name("backups.aside"))
        folder.write_text("this is no folder")
        self.launch("make_backup")

    def mend_backup(self) -> None:
        folder = self.house.data_dir / "backups"
        folder.unlink()
        with suppress(FileNotFoundError):
            folder.with_name("backups.aside").rename(folder)
        self.launch("make_backup")

    def launch(self, job: str) -> None:
        selector = {**_LOCATION, "jobName": job}
        said = self.graphql(
            "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename ... on LaunchRunSuccess "
            "{ run { runId } } ... on PythonError { message } } }",
            {"p": {"selector": selector, "runConfigData": "{}", "mode": "default"}},
        )
        assert said["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", said

    def schedule(self, name: str, on: bool) -> None:
        selector = {
            "repositoryLocationName": "crypto_pipeline",
            "repositoryName": "__repository__",
            "scheduleName": name,
        }
        if on:
            self.graphql(
                "mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }",
                {"s": selector},
            )
            return
        found = self.graphql(
            "query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule "
            "{ scheduleState { id } } } }",
            {"s": selector},
        )
        state = found["data"]["scheduleOrError"]["scheduleState"]["id"]
        self.graphql("mutation($i: String!) { stopRunningSchedule(id: $i) { __typename } }", {"i": state})

    def webhook_dies(self) -> None:
        self.stub.troubles.extend(["500"] * 10_000)
        self.sql("INSERT INTO ops.alerts (source, severity, summary) VALUES ('bench', 'error', 'something to send')")

    def webhook_lives(self) -> None:
        self.stub.troubles.clear()
        self.sql("UPDATE ops.alerts SET resolved_at = now() WHERE source = 'bench'")

    def faults(self) -> list[Fault]:
        return [
            self.stopped("ingest dead", "ingest", "ingest-0", 20),
            self.stopped("daemon dead", "dagster_daemon", "daemon"),
            self.stopped("code server dead", "code_server", "code-server"),
            self.stopped("database down", "database", "postgres"),
            Fault(
                "database read-only", "database_writable", lambda: self.read_only(True), lambda: self.read_only(False)
            ),
            Fault("disk 95 %", "disk_room", self.fill, self.unfill),
            Fault(
                "venue banned",
                "venue_bans",
                lambda: self.up.fault([{"kind": "rate_limit", "status": 418, "retry_after": 240, "count": 3}]),
                lambda: (self.up.clear(), self.sql("UPDATE ops.venue_budgets SET paused_until = NULL")),
            ),
            Fault("one instrument silent", "instruments_silent", self.silence, self.up.clear, _FRESH + 60),
            Fault("clock off", "clock", self.move_clock, self.right_clock),
            self.rows("gap older than 24 h", "oldest_gap", [_GAP], [_NO_GAP]),
            replace(self.rows("coverage 98 %", "coverage_24h", [_LESS], [_ALL]), healed=True),
            self.rows("features stale", "features_age", [_KEEP_FEATURES, _NO_FEATURES], [_FEATURES, _DROP_FEATURES]),
            Fault("backup failed", "backup", self.fail_backup, self.mend_backup, 30),
            Fault(
                "schedule not run",
                "schedules_run",
                lambda: self.schedule("storage_every_hour", False),
                lambda: self.schedule("storage_every_hour", True),
            ),
            Fault("webhook dead", "notifications_delivered", self.webhook_dies, self.webhook_lives, 30),
        ]

    def stopped(self, name: str, check: str, program: str, slow: float = 0.0) -> Fault:
        return Fault(name, check, lambda: self.stop(program), lambda: self.start(program), slow)

    def rows(self, name: str, check: str, planted: list[str], repaired: list[str]) -> Fault:
        return Fault(name, check, lambda: self.sql(*planted), lambda: self.sql(*repaired))

    # -- one fault --------------------------------------------------------------------------------------------------

    def complete(self) -> bool:
        time.sleep(2)
        return Stored.read(self.up.store).complete

    def messages(self, check: str) -> int:
        """Messages at either stub that name the check, as an alert or as a recovery."""
        texts = [json.dumps(one.body) for one in (*self.stub.taken, *self.second.taken)]
        return sum(check in text for text in texts)

    def until(self, reached: Callable[[], bool], patience: float) -> float | None:
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > patience:
                return None
            time.sleep(0.25)
        return time.monotonic() - began

    def keep_planting(self, plant: Callable[[], object]) -> None:
        while not self._ended.wait(1):
            plant()

    def last_ping(self) -> float:
        """Seconds from the stop of the notifier to the last ping that said that all is well, seen for a minute."""
        self.until(lambda: not self.bad(), 240)
        self.stop("notifier")
        began = time.monotonic()
        time.sleep(60)
        self.start("notifier")
        pings = [one.at - began for one in self.second.asked if one.path == "/ping"]
        return round(max((at for at in pings if at < 60), default=0.0), 1)

    def play(self, fault: Fault) -> list[str]:
        self.until(lambda: not self.bad(), 240)
        self.sql("DELETE FROM ops.alerts")  # an alert is announced once an hour: the one before must not count
        before, seen = self.messages(fault.check), set()

        def is_bad() -> bool:
            seen.update(self.bad())
            return fault.check in seen

        fault.plant()
        if fault.healed:
            self._ended.clear()
            threading.Thread(target=self.keep_planting, args=[fault.plant], daemon=True).start()
        away = fault.check in ("database", "database_writable")
        bad = None if away else self.until(is_bad, fault.slow + 120)
        told = self.until(lambda: self.messages(fault.check) > before, fault.slow + 180)
        for _ in range(40):  # is it announced once only, and does nothing else turn bad?
            seen.update(self.bad())
            time.sleep(0.5)
        alerts = self.messages(fault.check) - before
        self._ended.set()
        fault.repair()
        recovered = self.until(lambda: self.messages(fault.check) > before + alerts, 300)
        others = seen - {fault.check}
        shown = [f"{each:.1f}" if each is not None else "-" for each in (bad, told, recovered)]
        return [fault.name, fault.check, f"{fault.slow:g}", *shown, str(alerts), ", ".join(sorted(others)) or "none"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cp-faults-"))
    folder.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", str(folder)], check=True)
    print(machine())
    with SlackStub() as stub, SlackStub() as second:
        bench = Bench(given.instruments, stub, second, folder)
        try:
            bench.house.start()
            print("complete after", bench.until(bench.complete, 900), "s")
            bench.sql("UPDATE market.instruments SET added_at = added_at - interval '3 hours'")
            print("all known after", bench.until(lambda: not bench.bad(), 300), "s")
            rows = []
            for fault in bench.faults():
                if not given.only or fault.check in given.only.split(","):
                    rows.append(bench.play(fault))
                    print(rows[-1], flush=True)
            print("after the notifier was stopped the last ping came after", bench.last_ping(), "s")
            print()
            table(["fault", "check", "due after s", "bad after s", "message after s", "recovery after s",
                         "messages", "other checks bad"], rows)  # fmt: skip
        finally:
            bench.house.stop()
            subprocess.run(["umount", "-l", str(folder)], check=False)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
