"""The notifier with a real database and a stub of Slack: an alert and its end arrive once, even without the database.

Guards I12 (docs/invariants.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crypto_pipeline.ops.alerting.notifier import Notifier
from crypto_pipeline.ops.alerting.policy import AlertRules
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect, database_name, with_database
from crypto_pipeline.store.operations.notifications.alerts import AlertRecords
from crypto_pipeline_tests.builders.slack_stub import SlackStub

PLANTED = "planted-secret-of-this-test"
#: Two looks in a row count at once: nothing waits here.
RULES = AlertRules(between_looks=timedelta(0))

Make = Callable[..., Notifier]


@pytest.fixture
def make(postgres_url: str, slack: SlackStub, tmp_path: Path) -> Iterator[Make]:
    made: list[Notifier] = []

    def maker(evaluate: Any = lambda: (), folder: str = "one", **given: Any) -> Notifier:
        options: dict[str, Any] = {"slack_webhook": f"{slack.url}/services/{PLANTED}", "deployment_name": "here"}
        settings = load_settings(data_dir=tmp_path / folder, database_url=postgres_url, **(options | given))
        made.append(Notifier(settings, evaluate=evaluate, rules=RULES))
        return made[-1]

    yield maker
    for one in made:
        one.close()


def look_twice(notifier: Notifier) -> None:
    notifier.look()
    time.sleep(0.01)
    notifier.look()


def test_an_alert_arrives_once_and_its_end_as_well(make: Make, slack: SlackStub, postgres_url: str) -> None:
    notifier = make()
    with Store(postgres_url) as store:
        store.checks.raise_alert("run:make_backup", "error", "run 7 failed: the disk is <full>")
        notifier.look()
        assert slack.texts() == []
        for _ in range(3):
            notifier.look()
        slack.wait_for(1)
        store.checks.resolve_alert("run:make_backup")
        for _ in range(3):
            notifier.look()
        slack.wait_for(2)
        assert store.heartbeats.get("notifier") is not None
    opened, over = slack.texts()
    assert opened.startswith("ERROR open at here: run:make_backup")
    assert "the disk is &lt;full&gt;" in opened
    assert "Since: " in opened
    assert "What to do: Open the run in the Dagster UI" in opened
    assert "Runbook: docs/runbook.md#job_errors" in opened
    assert over.startswith("RECOVERED at here: run:make_backup")


def test_a_message_names_figure_and_threshold(make: Make, slack: SlackStub, postgres_url: str) -> None:
    notifier = make()
    row = (
        "INSERT INTO ops.check_results (check_name, passed, status, severity, summary, figure, threshold) "
        "VALUES ('ingest', false, 'bad', 'critical', 'no heartbeat of ingest-0 for 32 s', 32, '≤ 20 s')"
    )
    with Store(postgres_url) as store:
        store.connections.run(lambda connection: connection.execute(row) and None)
        store.checks.raise_alert("ingest", "critical", "no heartbeat of ingest-0 for 32 s")
    look_twice(notifier)
    slack.wait_for(1)
    assert "Measured: 32 s (should be ≤ 20 s)" in slack.texts()[0].replace("&lt;", "<")
    assert "docs/runbook.md#ingest" in slack.texts()[0]


def test_a_storm_is_one_message(make: Make, slack: SlackStub, postgres_url: str) -> None:
    notifier = make()
    with Store(postgres_url) as store:
        for number in range(80):
            store.checks.raise_alert(f"asks:{number}", "error", "the venue has only errors for it " * 20)
    look_twice(notifier)
    slack.wait_for(1)
    notifier.look()
    assert len(slack.taken) == 1
    assert "79 more alerts" in slack.texts()[0]
    blocks = slack.taken[0].body["blocks"]
    assert len(blocks) <= 50
    assert all(len(str(block.get("text", {}).get("text", ""))) <= 3000 for block in blocks)


def test_of_two_notifiers_one_acts(make: Make, slack: SlackStub, postgres_url: str) -> None:
    first, second = make(), make(folder="two")
    with Store(postgres_url) as store:
        store.checks.raise_alert("disk_room", "critical", "nothing is free")
    for _ in range(3):
        first.look()
        assert second.look() is None
    slack.wait_for(1)
    first.close()
    assert second.look() is not None
    assert len(slack.taken) == 1


def test_mute_and_window_silence(make: Make, slack: SlackStub, postgres_url: str) -> None:
    notifier = make()
    with Store(postgres_url) as store:
        records = AlertRecords(store.connections)
        store.checks.raise_alert("clock", "error", "off")
        store.checks.raise_alert("disk_room", "critical", "full")
        store.checks.raise_alert("ingest", "critical", "dead")
        ids = {one.source: one.id for one in records.open_records()}
        now = store.connections.row("SELECT now()")[0]
        assert records.mute([ids["clock"]], now + timedelta(hours=1)) == [ids["clock"]]
        records.add_window("disk*", now - timedelta(minutes=1), now + timedelta(hours=1), "a bigger disk")
        look_twice(notifier)
        slack.wait_for(1)
        assert slack.texts()[0].startswith("CRITICAL open at here: ingest\n")
        assert records.end_window(records.windows(now)[0].id, now + timedelta(seconds=1))
        assert records.mute([ids["clock"]], None) == [ids["clock"]]
        time.sleep(1.0)
        notifier.look()
        slack.wait_for(2)
    assert slack.texts()[1].startswith("CRITICAL open at here: disk_room and 1 more alert\n")


def test_a_fault_of_the_evaluation_stops_no_announcement(make: Make, slack: SlackStub, postgres_url: str) -> None:
    def fails() -> Any:
        raise ValueError("a fault of this test")

    notifier = make(fails)
    with Store(postgres_url) as store:
        store.checks.raise_alert("disk_room", "critical", "full")
        look_twice(notifier)
        slack.wait_for(1)
        # and a fault of the announcing ends no look
        store.connections.run(lambda connection: connection.execute("ALTER TABLE ops.outbox RENAME TO gone") and None)
        store.checks.resolve_alert("disk_room")
        assert notifier.look() is None
        store.connections.run(lambda connection: connection.execute("ALTER TABLE ops.gone RENAME TO outbox") and None)
        notifier.look()
        slack.wait_for(2)


def _read_only(url: str, on: bool) -> None:
    name = database_name(url)
    with connect(with_database(url, "postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'on' if on else 'off'}")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def _away(url: str, on: bool) -> None:
    name = database_name(url)
    with connect(with_database(url, "postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {'false' if on else 'true'}")
        if on:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


@pytest.mark.own_server
@pytest.mark.parametrize(("break_it", "source"), [(_read_only, "database_writable"), (_away, "database")])
def test_without_the_database_its_alert_arrives_by_the_journal(
    break_it: Callable[[str, bool], None], source: str, make: Make, slack: SlackStub, postgres_url: str
) -> None:
    notifier = make()
    assert notifier.look() is not None
    break_it(postgres_url, True)
    slack.troubles.append("429:0")
    try:
        until = time.monotonic() + 60
        while not slack.taken:
            assert notifier.look() is None
            assert time.monotonic() < until
    finally:
        break_it(postgres_url, False)
    slack.wait_for(1)
    assert slack.texts()[0].startswith(f"CRITICAL open at here: {source}")
    until = time.monotonic() + 20
    while notifier.look() is None:
        assert time.monotonic() < until
    notifier.look()
    slack.wait_for(2)
    assert slack.texts()[1].startswith(f"RECOVERED at here: {source}")
    assert len(slack.taken) == 2
    with Store(postgres_url) as store:
        rows = store.connections.rows("SELECT source, resolved_at IS NOT NULL, announcements FROM ops.alerts")
        assert rows == [(source, True, 1)]
        messages = store.connections.rows("SELECT kind, state FROM ops.outbox ORDER BY id")
    assert messages[0] == ("alert", "sent")
    assert not list(Path(notifier._settings.data_dir).rglob("notifier-journal*"))


def test_the_ping_needs_true_heartbeats(make: Make, slack: SlackStub) -> None:
    states = [
        SimpleNamespace(name=name, status="ok", summary="fine")
        for name in ("database", "database_writable", "dagster_daemon", "ingest")
    ]
    notifier = make(lambda: states, dead_man_url=f"{slack.url}/ping/{PLANTED}", slack_webhook=None, dead_man_seconds=10)
    notifier.look()
    slack.wait_for(1)
    states[2] = SimpleNamespace(name="dagster_daemon", status="bad", summary="no heartbeat for 200 s")
    notifier.look()
    slack.wait_for(2)
    assert [one.path for one in slack.taken] == [f"/ping/{PLANTED}", f"/ping/{PLANTED}/fail"]
    assert slack.texts()[1] == "dagster_daemon: no heartbeat for 200 s"
    notifier.look()
    assert len(slack.taken) == 2  # at a steady pace, whichever it is


@pytest.mark.faults
def test_the_program_runs_by_itself_small_and_tells_no_secret(
    postgres_url: str, slack: SlackStub, tmp_path: Path
) -> None:
    """Killed for good it pings no more; what it logs, shows in its command line and stores has no secret in it."""
    slack.troubles.extend(["404:no_service", "cut"])
    environment = os.environ | {
        "CRYPTO_PIPELINE_DATA_DIR": str(tmp_path),
        "CRYPTO_PIPELINE_DATABASE_URL": postgres_url,
        "CRYPTO_PIPELINE_SLACK_WEBHOOK": f"{slack.url}/services/{PLANTED}",
        "CRYPTO_PIPELINE_SLACK_TOKEN": f"xoxb-{PLANTED}",
        "CRYPTO_PIPELINE_SLACK_CHANNEL": "C1",
        "CRYPTO_PIPELINE_SLACK_API_URL": "http://127.0.0.1:9/api",
        "CRYPTO_PIPELINE_APPRISE_URLS": f"json://127.0.0.1:9/{PLANTED}",
        "CRYPTO_PIPELINE_DEAD_MAN_URL": f"http://127.0.0.1:9/{PLANTED}",
    }
    with Store(postgres_url) as store:
        store.checks.raise_alert("run:make_backup", "critical", "the disk is full")
        log = tmp_path / "notifier.log"
        with log.open("wb") as output:
            program = subprocess.Popen(
                [sys.executable, "-m", "crypto_pipeline.ops.alerting.notifier"], env=environment, stderr=output
            )
        try:
            sent = "SELECT count(*) FROM ops.outbox WHERE state = 'sent'"
            tried = "SELECT count(*) FROM ops.notification_channels WHERE failures > 0"
            until = time.monotonic() + 120
            while not (store.connections.row(tried)[0] >= 3 or store.connections.row(sent)[0]):
                assert time.monotonic() < until
                assert program.poll() is None, log.read_text()
                time.sleep(0.1)
            command = Path(f"/proc/{program.pid}/cmdline").read_bytes()
            resident = int(Path(f"/proc/{program.pid}/status").read_text().split("VmRSS:")[1].split()[0])
            maps = Path(f"/proc/{program.pid}/maps").read_text()
        finally:
            program.kill()
            program.wait()
        tables = ("ops.outbox", "ops.notification_channels", "ops.alerts", "ops.heartbeats", "ops.check_results")
        stored = [str(store.connections.rows(f"SELECT t::text FROM {table} t")) for table in tables]
    assert "no_service" in log.read_text()
    everything = [log.read_text(), command.decode(), *stored]
    everything += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PLANTED in text for text in everything)
    assert "polars" not in maps
    assert resident < 120_000, f"{resident} kB"  # with apprise; 64 MB without


def test_settings_hide_what_is_secret(tmp_path: Path) -> None:
    settings: Settings = load_settings(data_dir=tmp_path, slack_webhook=f"https://hooks/{PLANTED}", slack_token=PLANTED)
    assert PLANTED not in repr(settings)
    with pytest.raises(Exception, match="SLACK_WEBHOOK") as error:
        load_settings(data_dir=tmp_path, slack_webhook=PLANTED)
    assert PLANTED not in str(error.value)
