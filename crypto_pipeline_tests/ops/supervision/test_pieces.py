"""The pieces of supervision, each by itself."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.paths import Places, UpLock, UpState, running_state
from crypto_pipeline.ops.host.ports import claim_port, free_port
from crypto_pipeline.ops.host.processes import Identity, this_process
from crypto_pipeline.ops.supervision import health, supervisord
from crypto_pipeline.ops.supervision.dagster_home import needs_migration, note_version, shipped, write_dagster_home
from crypto_pipeline.ops.supervision.programs import environment, given_settings, programs
from crypto_pipeline.ops.supervision.supervisord import ProcessInfo
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Heartbeat
from crypto_pipeline_tests.builders.places import PROJECT


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "data")
    found.make()
    return found


def _settings(places: Places, **given: object) -> Settings:
    return load_settings(data_dir=places.data_dir, **given)


def _state(places: Places) -> UpState:
    return UpState(os.getpid(), "healthy", 1.0, {"ui": "http://127.0.0.1:1"}, {"ui": 1}, {}, False, "/nowhere")


def test_run_folder_is_private(places: Places) -> None:
    assert all(
        stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in (places.run, places.logs, places.dagster_home)
    )


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpsError, match=r"cannot write to the data directory .*file.*--data-dir"):
        Places(tmp_path / "file").make()


def test_socket_path_that_is_too_long_moves_to_a_private_folder(tmp_path: Path) -> None:
    places = Places(tmp_path / ("x" * 120))
    places.make()
    path = places.socket("supervisor")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert places.socket("code-server").parent == path.parent
    places.clear_sockets()
    assert not path.parent.exists()


def test_lock_is_held_once_and_ends_with_its_holder(places: Places) -> None:
    assert UpLock.holder(places) is None
    code = (
        "import sys; from pathlib import Path; from crypto_pipeline.ops.host.paths import Places, UpLock\n"
        f"lock = UpLock(Places(Path({str(places.data_dir)!r}))); assert lock.take()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert UpLock.holder(places) == holder.pid
        assert not UpLock(places).take()
        holder.kill()
        holder.wait()
    assert UpLock.holder(places) is None


def test_state_counts_only_while_the_lock_is_held(places: Places) -> None:
    state = _state(places)
    state.write(places)
    assert stat.S_IMODE(places.state.stat().st_mode) == 0o600
    assert running_state(places) is None
    lock = UpLock(places)
    lock.take()
    assert running_state(places) == state
    replace(state, pid=1).write(places)  # of an earlier run, not overwritten yet
    found = running_state(places)
    assert found is not None
    assert (found.pid, found.phase) == (os.getpid(), "starting")
    lock.release()


def test_port_in_use_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OpsError, match=rf"port {port} for the Dagster UI is in use .*--ui-port N"):
            claim_port("127.0.0.1", port, "the Dagster UI", "--ui-port")
    assert claim_port("127.0.0.1", port, "the Dagster UI", "--ui-port") == port
    assert claim_port("127.0.0.1", 0, "the Dagster UI", "--ui-port") > 0


def test_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(OpsError, match=r"cannot listen on 192\.0\.2\.1:"):
        claim_port("192.0.2.1", free_port("127.0.0.1"), "the Dagster UI", "--ui-port")


def test_secrets_are_in_the_environment_and_nowhere_else(places: Places) -> None:
    url = "postgresql://user:hunter2@127.0.0.1:1/bars"
    settings = _settings(places, database_url=url, venue="replay")
    wanted = programs(settings, places, {"ui": 3000, "replay": 8765})
    supervisord.write_config(places, wanted)
    write_dagster_home(places)
    _state(places).write(places)
    written = "".join(path.read_text() for path in places.data_dir.rglob("*") if path.is_file())
    assert "hunter2" not in written
    assert not any("hunter2" in word for program in wanted for word in program.command)
    assert "hunter2" not in str(given_settings(settings))
    made = environment(
        settings, places, given_settings(settings), "postgresql+psycopg2://user:hunter2@127.0.0.1:1/dagster"
    )
    assert "hunter2" in made["DAGSTER_POSTGRES_URL"]
    assert made["CRYPTO_PIPELINE_VENUE"] == "replay"


def test_programs_have_the_settings_that_were_given(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are tables too, whose text in Python is not that of a setting."""
    given: dict[str, Any] = {
        "keep_days": {"1m": 90}, "ccxt_urls": {"bitstamp": "http://127.0.0.1:9"}, "days": 3,
        "replay_shift_to_now": True,
        "label_parameters": {"loose": {"dca": {"horizon": 24}}},
    }  # fmt: skip
    settings = load_settings(data_dir=places.data_dir, **given)
    made = environment(settings, places, given_settings(settings), "postgresql+psycopg2://u:p@127.0.0.1:1/d")
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    assert load_settings().model_dump(include=set(given)) == settings.model_dump(include=set(given))


def test_own_database_needs_no_postgres_of_ours(places: Places) -> None:
    settings = _settings(places, database_url="postgresql://u@h/d")
    assert [one.name for one in programs(settings, places, {"ui": 1})] == [
        "ingest-0",
        "code-server",
        "webserver",
        "daemon",
        "notifier",
    ]
    names = [one.name for one in programs(_settings(places), places, {"ui": 1, "replay": 2})]
    assert names == ["postgres", "replay", "ingest-0", "code-server", "webserver", "daemon", "notifier"]
    without_reads = programs(_settings(places, api=False), places, {"ui": 1})
    assert [one.name for one in without_reads][-2:] == ["forecasts", "notifier"], "somebody keeps forecasts fresh"


def test_forecasts_are_published_by_the_program_that_serves_reads_or_by_their_own(places: Places) -> None:
    alone = {"database_url": "postgresql://u@h/d", "ingest": False, "notifier": False, "api": False}
    without_api = programs(_settings(places, **alone), places, {"ui": 1})
    assert [one.name for one in without_api] == ["code-server", "webserver", "daemon", "forecasts"]
    turned_off = programs(_settings(places, **alone, forecasts=False), places, {"ui": 1})
    assert [one.name for one in turned_off] == ["code-server", "webserver", "daemon"]


def test_each_venue_of_the_universe_has_an_ingest_of_its_own(places: Places, tmp_path: Path) -> None:
    universe = tmp_path / "mine.toml"
    universe.write_text(
        '[[group]]\ntier = "large"\nsymbols = ["BTC"]\n[[group]]\ntier = "large"\nvenue = "kraken"\nsymbols = ["BTC"]\n'
    )
    settings = _settings(places, universe_file=universe, ingest_shards=2)
    found = {one.name: one.command for one in programs(settings, places, {"ui": 1, "replay": 2})}
    assert [name for name in found if name.startswith("ingest-")] == [
        "ingest-0",
        "ingest-1",
        "ingest-kraken-0",
        "ingest-kraken-1",
    ]
    assert found["ingest-kraken-1"][-6:] == ["--venue", "kraken", "--shard", "1", "--shards", "2"]
    alone = _settings(places, universe_file=universe, venue="coinbase")
    names = [one.name for one in programs(alone, places, {"ui": 1})]
    assert [name for name in names if name.startswith("ingest-")] == ["ingest-0"]


def test_configuration_survives_strange_paths(tmp_path: Path) -> None:
    places = Places(tmp_path / "a b%c'd")
    places.make()
    supervisord.write_config(places, programs(_settings(places), places, {"ui": 1, "replay": 2}))
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(places.supervisord_conf.read_text())
    assert "%%c" in parser["program:webserver"]["command"]
    # supervisorctl, by which a person restarts one program, finds the socket
    assert parser["supervisorctl"]["serverurl"] == f"unix://{places.socket('supervisor')}".replace("%", "%%")
    bad = Places(tmp_path / "a #b")
    bad.make()
    with pytest.raises(OpsError, match="choose one without"):
        supervisord.write_config(bad, programs(_settings(bad), bad, {"ui": 1, "replay": 2}))


def test_dagster_home_is_what_ships_and_a_persons_own_file_stays(places: Places) -> None:
    write_dagster_home(places)
    target = places.dagster_home / "dagster.yaml"
    assert target.read_text() == shipped("dagster.yaml").read_text() == (PROJECT / "dagster.yaml").read_text()
    entry = yaml.safe_load(places.workspace.read_text())["load_from"][0]["grpc_server"]
    assert entry == {"socket": str(places.socket("code-server")), "location_name": "crypto_pipeline"}
    target.write_text("# mine\ntelemetry: {enabled: false}\n")
    write_dagster_home(places)
    assert target.read_text().startswith("# mine")


def test_shipped_dagster_yaml_is_valid_and_keeps_a_slot_free(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.ref import InstanceRef

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://u@h/d")
    write_dagster_home(places)
    settings = InstanceRef.from_dir(str(places.dagster_home)).settings
    runs = settings["concurrency"]["runs"]
    assert runs["max_concurrent_runs"] > max(limit["limit"] for limit in runs["tag_concurrency_limits"])
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_monitoring"]["enabled"]
    assert settings["run_retries"]["enabled"]


def test_top_level_workspace_names_the_location() -> None:
    entry = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert entry == {"module_name": "crypto_pipeline.definitions", "location_name": "crypto_pipeline"}


def test_storage_is_migrated_only_after_another_version(places: Places) -> None:
    assert not needs_migration(places)
    note_version(places)
    assert not needs_migration(places)
    (places.dagster_home / "storage-version").write_text("1.0.0")
    assert needs_migration(places)


def test_processes_are_found_by_mark_and_descent_and_ended(tmp_path: Path) -> None:
    # A child that ignores polite signals, and its own child.
    script = "trap '' INT TERM; sleep 100 & echo $!; wait"
    marked = {**os.environ, processes.MARK: str(tmp_path)}
    with subprocess.Popen(["sh", "-c", script], env=marked, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert set(processes.marked(tmp_path)) == {child.pid, grandchild}
        assert {child.pid, grandchild} <= set(processes.descendants(os.getpid()))
        since = processes.started_at(child.pid)
        assert since is not None
        killed = processes.end([child.pid, grandchild], signal.SIGINT, 0.2)
        assert child.pid in killed
        assert not processes.is_alive(child.pid)
        assert not processes.is_alive(grandchild)
    assert processes.marked(tmp_path) == []
    assert processes.started_at(2**22 + 1) is None


def test_a_process_that_shows_no_environment_is_found_by_its_parent(tmp_path: Path) -> None:
    # So looks every process for a moment while it becomes another program.
    script = "env -i sleep 100 & echo $!; wait"
    marked = {**os.environ, processes.MARK: str(tmp_path)}
    with subprocess.Popen(["sh", "-c", script], env=marked, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        while Path(f"/proc/{grandchild}/comm").read_text().strip() != "sleep":
            assert processes.is_alive(grandchild)
        assert Path(f"/proc/{grandchild}/environ").read_bytes() == b""
        assert set(processes.marked(tmp_path)) == {child.pid, grandchild}
        processes.end([child.pid, grandchild], signal.SIGKILL, 5)
    assert processes.marked(tmp_path) == []


def test_a_process_is_more_than_its_number(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        found = processes.Identity.of(child.pid)
        assert found is not None
        assert found.lives()
        assert processes.Identity.parse(str(found)) == found
        # the same number on another machine, in another boot, or used again
        for other in (replace(found, host="elsewhere"), replace(found, boot="before"), replace(found, started=1)):
            assert not other.lives()
        child.kill()
        child.wait()
        assert not found.lives()
        assert processes.Identity.of(child.pid) is None
    with pytest.raises(ValueError, match="'7' is no process"):
        processes.Identity.parse("7")


def test_the_same_path_in_another_container_is_left_alone(places: Places) -> None:
    ours = {**os.environ, processes.MARK: str(places.data_dir), processes.DEPLOYMENT: places.deployment()}
    with (
        subprocess.Popen(["sleep", "100"], env=ours) as mine,
        subprocess.Popen(["sleep", "100"], env=ours | {processes.DEPLOYMENT: "other"}) as strange,
    ):
        assert processes.marked(places.data_dir, places.deployment()) == [mine.pid]
        assert set(processes.marked(places.data_dir)) == {mine.pid, strange.pid}
        mine.kill()
        strange.kill()


def test_a_copy_of_a_data_directory_is_another_deployment(places: Places, tmp_path: Path) -> None:
    first = places.deployment()
    assert places.deployment() == first
    copied = Places(tmp_path / "copy")
    shutil.copytree(places.data_dir, copied.data_dir)
    assert copied.deployment() != first
    assert places.deployment() == first


def test_who_ingests_elsewhere_on_the_same_database_is_told() -> None:
    ours = ProcessInfo("ingest-0", "RUNNING", 7, 0.0, "")

    def note(holder: str, pid: int, age: float = 1.0) -> str | None:
        now = datetime.now(UTC)
        beat = Heartbeat("ingest-0", holder, now, now, age, {"pid": pid})
        return health._stands_by([ours], {"ingest-0": beat}).get("ingest-0")

    host, boot = Identity.machine()
    alive = this_process()
    assert note(f"{host}:{boot}:7:1:abc", 7) is None, "it is ours"
    assert note(f"{host}:{boot}:{alive.pid}:1:abc", alive.pid) is None, "who held it has ended: it is being taken over"
    assert note(f"elsewhere:{boot}:8:1:abc", 8, age=health.STALE) is None, "and so is what fell silent"
    assert "process 8 on elsewhere" in str(note(f"elsewhere:{boot}:8:1:abc", 8))
    assert f"process {alive.pid} on {host}" in str(note(f"{alive}:abc", alive.pid))
    assert "run f3a9" in str(note("f3a9", 9))


def test_ingest_starts_without_what_it_does_not_need() -> None:
    heavy = ["dagster", "matplotlib", "numba", "pandas", "sqlalchemy"]
    code = (
        "import sys, crypto_pipeline.cli.ingest_program, adbc_driver_manager.dbapi, polars\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "import importlib.util; print(all(type(one).__name__ != '_NoPandas' for one in sys.meta_path))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["[]", "True"], done.stdout + done.stderr
