"""A real `up`: healthy in time, whole after any kill, clear about refusals, gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.supervision.health import request
from crypto_pipeline.store import EmbeddedServer
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders import pgbouncer
from crypto_pipeline_tests.builders.deployment import PROGRAMS, Deployment, crowding
from crypto_pipeline_tests.builders.exposition import values
from crypto_pipeline_tests.builders.pgbouncer import PgBouncer
from crypto_pipeline_tests.ops.conftest import TOKEN

pytestmark = pytest.mark.faults


def test_answers_in_the_ui_within_twenty_seconds(up: Deployment) -> None:
    assert up.took < 20 * crowding()
    code, body = request("GET", up.state.urls["ui"] + "/server_info")
    assert code == 200
    assert b"dagster_webserver_version" in body


def test_status_says_what_runs_and_what_is_stored(up: Deployment) -> None:
    answer = up.command("status", "--json")
    found = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert found["running"]
    assert found["healthy"]
    assert isinstance(found["complete"], bool)
    assert found["url"] == found["urls"]["ui"] == up.state.urls["ui"]
    assert found["venue"] == "replay"
    rows = {row["name"]: row for row in found["processes"]}
    assert set(rows) == {"up", "supervisord", *PROGRAMS}
    for row in rows.values():
        assert row["healthy"], row
        assert row["pid"] > 0
        assert row["uptime_seconds"] >= 0
    assert found["database"]["reachable"]
    assert found["database"]["size_bytes"] > 0
    assert found["database"]["schema_version"]
    for row in found["timeframes"].values():
        assert row.keys() >= {"rows", "expected", "present", "explained", "missing", "newest"}
    assert found["checks"].keys() == {"passed", "wanted", "failing", "operational", "every", "said"}


def test_status_for_people(up: Deployment) -> None:
    answer = up.command("status")
    assert answer.returncode == 0
    assert up.state.urls["ui"] in answer.stdout
    assert "supervisord" in answer.stdout


def test_no_secret_is_in_sight(up: Deployment) -> None:
    password = (up.data_dir / "postgres" / "password").read_text().strip()
    for pid in processes.marked(up.data_dir):
        assert password not in Path(f"/proc/{pid}/cmdline").read_text()
    for path in [*up.places.run.rglob("*"), *up.places.dagster_home.rglob("*")]:
        if path.is_file():
            assert password not in path.read_text(errors="replace"), path
    assert password not in up.output.read_text()
    assert stat.S_IMODE(up.places.run.stat().st_mode) == 0o700


def test_second_up_refuses_and_names_the_first(up: Deployment) -> None:
    answer = up.command("up", "--ui-port", "0", "--replay-port", "0", "--api-port", "0")
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert str(up.state.pid) in answer.stderr
    assert up.state.urls["ui"] in answer.stderr
    assert "crypto-pipeline down" in answer.stderr
    detached = up.command("up", "--detach", "--ui-port", "0", "--replay-port", "0", "--api-port", "0")
    assert detached.returncode == 1
    assert up.state.urls["ui"] in detached.stderr


def test_port_in_use_is_refused_before_anything_starts(up: Deployment) -> None:
    other = Deployment()
    try:
        answer = other.command("up", "--ui-port", str(up.state.ports["ui"]), "--replay-port", "0", "--api-port", "0")
        assert answer.returncode == 1
        assert f"port {up.state.ports['ui']}" in answer.stderr
        assert "--ui-port N" in answer.stderr
        assert answer.stderr.count("\n") == 1
        answer = other.command(
            "up", "--ui-port", "0", "--replay-port", str(up.state.ports["replay"]), "--api-port", "0"
        )
        assert answer.returncode == 1
        assert "--replay-port N" in answer.stderr
        assert not (other.data_dir / "postgres").exists()
    finally:
        other.stop()


def test_other_commands_follow_the_running_deployment(up: Deployment) -> None:
    settings = {row["name"]: row["value"] for row in json.loads(up.command("settings", "--json").stdout)}
    assert settings["replay_port"] == up.state.ports["replay"]
    assert settings["days"] == 1


def test_backfill_read_and_coverage_from_the_command_line(up: Deployment) -> None:
    done = up.command("backfill", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == {}
    symbol = json.loads(up.command("instruments", "list", "--json").stdout)[0]["symbol"]
    bars = json.loads(up.command("read", symbol, "1h", "--format", "json").stdout)
    assert len(bars) >= 24
    assert bars[0]["instrument"] == symbol
    cells = json.loads(up.command("coverage", "--json").stdout)
    assert {cell["timeframe"] for cell in cells} >= {"1m", "1h"}
    assert all(cell["missing"] == 0 for cell in cells)
    again = up.command("backfill")
    assert again.returncode == 0, again.stderr


def test_bars_from_python_without_dagster(up: Deployment) -> None:
    assert up.command("backfill").returncode == 0
    symbol = json.loads(up.command("instruments", "list", "--json").stdout)[0]["symbol"]
    code = (
        "import sys, crypto_pipeline\n"
        "from datetime import UTC, datetime, timedelta\n"
        f"frame = crypto_pipeline.bars([{symbol!r}], '15m', start=datetime.now(UTC) - timedelta(hours=20))\n"
        "assert frame.height >= 79, frame\n"
        "assert not any(name.split('.')[0] == 'dagster' for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=up.environment, check=True)


def test_equal_requests_over_http_have_one_run(up: Deployment) -> None:
    """Eight at once start one run; with a key of the client it is the same run also when it is over."""
    headers = {"authorization": f"Bearer {TOKEN}", "idempotency-key": "once"}
    client = httpx.Client(base_url=up.state.urls["api"], headers=headers, timeout=60 * crowding(), trust_env=False)
    [symbol, *_] = [row["symbol"] for row in json.loads(up.command("instruments", "list", "--json").stdout)]
    body = {"symbol": symbol, "market": "crypto"}

    def ask(_: int = 0) -> dict[str, Any]:
        answer = client.post("/cache/backfill-symbol", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(ask, range(8)))
    assert len({answer["run_id"] for answer in answers}) == 1
    assert sorted(answer["started"] for answer in answers) == [False] * 7 + [True]
    assert answers[0]["job"] == "backfill_bars"
    assert answers[0]["url"] == f"{up.state.urls['ui']}/runs/{answers[0]['run_id']}"
    deadline = time.monotonic() + 90 * crowding()
    while (last := client.get("/cache/status").json()["requests"][0])["status"] not in ("success", "failure"):
        assert time.monotonic() < deadline, last
        time.sleep(0.2)
    assert (last["run_id"], last["status"]) == (answers[0]["run_id"], "success")
    assert ask()["run_id"] == answers[0]["run_id"]
    other = client.post("/cache/sync-historical")
    assert other.status_code == 422
    assert "belongs to the request" in other.json()["detail"]
    del client.headers["idempotency-key"]
    for path, job in (("refresh-live", "live_gap_fill"), ("sync-historical", "historical_sync_replay")):
        launched = client.post(f"/cache/{path}")
        assert launched.status_code == 202, launched.text
        assert (launched.json()["job"], launched.json()["started"]) == (job, True)
    found = client.get("/cache/scheduler/status").json()
    assert found["troubles"] == {}
    assert {"recent_processor", "historical_processor"} <= {row["name"] for row in found["schedules"]}
    assert any(row["last_success"] for row in found["sensors"])
    named = values(client.get("/metrics").text)["crypto_pipeline_program_healthy"]
    assert {name for (name,) in named} >= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_whatever_is_killed_is_back_and_nothing_is_lost(up: Deployment, name: str) -> None:
    up.await_healthy(30 * crowding())
    before = up.rows()
    victim = up.pid(name)
    os.kill(victim, signal.SIGKILL)
    assert up.await_healthy(30 * crowding(), without=victim) < 30 * crowding()
    assert up.pid(name) != victim
    after = up.rows()
    assert all(after[timeframe] >= rows for timeframe, rows in before.items())


def test_a_killed_supervisord_is_back_and_not_even_a_frozen_child_of_it_stays(up: Deployment) -> None:
    up.await_healthy(30 * crowding())
    rows, before = up.rows(), up.pids()
    os.kill(before["webserver"], signal.SIGSTOP)
    os.kill(before["supervisord"], signal.SIGKILL)
    assert up.await_healthy(40 * crowding(), without=before["supervisord"]) < 40 * crowding()
    assert up.pid("supervisord") != before["supervisord"]
    assert not any(processes.is_alive(pid) for pid in before.values())
    after = up.rows()
    assert all(after[timeframe] >= count for timeframe, count in rows.items())


def test_down_leaves_nothing_running_and_keeps_what_is_stored(up: Deployment) -> None:
    rows = up.rows()
    started = time.monotonic()
    answer = up.command("down")
    assert answer.returncode == 0, answer.stderr
    assert time.monotonic() - started < 40 * crowding()
    assert up.process is not None
    assert up.process.wait(10) == 0
    assert processes.marked(up.data_dir) == []
    status = up.command("status", "--json")
    assert status.returncode == 3
    assert not json.loads(status.stdout)["running"]
    # Reading needs no `up`: the database is started for the one command.
    symbol = json.loads(up.command("instruments", "list", "--json").stdout)[0]["symbol"]
    assert len(up.command("read", symbol, "1h", "--format", "csv").stdout.splitlines()) > 20
    assert processes.marked(up.data_dir) == []
    # It goes on where it was, detached this time.
    up.detach()
    assert all(count >= rows[timeframe] for timeframe, count in up.rows().items())


def test_a_killed_up_takes_its_programs_along_and_can_start_again_on_its_ports(up: Deployment) -> None:
    up.await_healthy(30 * crowding())
    for name, port in up.state.ports.items():
        up.options = (*up.options, f"--{name}-port", str(port))
    os.kill(up.pid("webserver"), signal.SIGSTOP)  # it cannot leave its port by itself
    killed = up.pid("up")
    os.kill(killed, signal.SIGKILL)
    up.await_end(killed)
    up.start()
    # One family: whatever of the first one outlived it was ended.
    family = {up.state.pid, *processes.descendants(up.state.pid)}
    assert set(processes.marked(up.data_dir)) - {*family, *processes.descendants(up.state.pid)} == set()


def test_a_database_of_ones_own_is_used_and_left_running_when_down_ends_a_detached_up(
    postgres_server: EmbeddedServer, request: pytest.FixtureRequest
) -> None:
    """Behind pgbouncer where it is installed, for a role that owns two databases and has no other right."""
    url = postgres_server.url("mine")
    other = Deployment(database_url=url)
    if pgbouncer.PROGRAM is not None:
        pooler: PgBouncer = request.getfixturevalue("pooler")
        with connect(postgres_server.url("postgres")) as connection:
            for name in ("mine", "mine_dagster"):
                connection.execute(f"CREATE DATABASE {name} OWNER {pgbouncer.ROLE}")
        given = pooler.url("mine")
        other = Deployment(database_url=given, database_direct_url=given.direct)
    try:
        other.detach()
        found = other.status()
        assert found["healthy"], found
        assert "postgres" not in {row["name"] for row in found["processes"]}
        assert not (other.data_dir / "postgres").exists()
        # Whoever forgets to say which database is told, and not shown an empty one.
        other.settings.clear()
        forgot = other.command("coverage")
        assert forgot.returncode == 2
        assert "CRYPTO_PIPELINE_DATABASE_URL" in forgot.stderr
        assert other.command("down").returncode == 0
        assert processes.marked(other.data_dir) == []
        assert postgres_server.is_alive()
        with connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM market.instruments").fetchone() == (2,)
    finally:
        other.stop()
