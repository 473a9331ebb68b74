"""The embedded PostgreSQL: made, started, shared, killed, and gone with its last user."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from crypto_pipeline.store.database import file_locks
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded import binaries, cluster, run_as
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.schema.migrations import migrate

pytestmark = pytest.mark.faults
AS_ROOT = os.geteuid() == 0
_EXEC = "import sys; from pathlib import Path; from crypto_pipeline.store.embedded.server import EmbeddedServer; "
_SUPERVISED = _EXEC + "EmbeddedServer(Path(sys.argv[1])).exec_server()"
_COMMAND = f"""{_EXEC}
import time
with EmbeddedServer(Path(sys.argv[1])).running():
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def empty_dir() -> Iterator[Path]:
    """A data directory with nothing in it."""
    folder = Path(tempfile.mkdtemp(prefix="cp-embedded-"))
    yield folder
    if (folder / "postgres" / "owner.lock").exists():
        for pid in _server_processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A data directory that was made and never started, to copy: much faster than making one for each test."""
    folder = Path(tempfile.mkdtemp(prefix="cp-prepared-"))
    EmbeddedServer(folder).prepare()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(empty_dir: Path, prepared: Path) -> Path:
    """A data directory of its own in which a server was prepared."""
    shutil.copytree(prepared / "postgres", empty_dir / "postgres")
    return empty_dir


@pytest.fixture
def supervised(empty_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the server as a supervisor would; each call is one start."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISED, str(empty_dir)], stderr=subprocess.PIPE, text=True
        )
        started.append(program)
        return program

    yield start
    for program in started:
        if program.poll() is None:
            program.send_signal(signal.SIGINT)
            program.wait(30)
        assert program.stderr is not None
        program.stderr.close()


def test_a_command_starts_its_own_server_and_leaves_nothing_running(empty_dir: Path) -> None:
    server = EmbeddedServer(empty_dir)
    assert not server.is_alive()
    with server.running() as url, connect(url) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    assert not server.is_alive()
    assert _server_processes(empty_dir) == []
    with EmbeddedServer(empty_dir).running() as url, connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_password_is_needed_and_only_the_owner_can_read_it(empty_dir: Path) -> None:
    server = EmbeddedServer(empty_dir)
    with server.running() as url:
        for wrong in ("", "guess"):
            password = psycopg.conninfo.conninfo_to_dict(url)["password"]
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(url.replace(str(password), wrong))
    assert (empty_dir / "postgres/password").stat().st_mode & 0o777 == 0o600


def test_commands_share_a_server_and_the_last_one_stops_it(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    with server.running():
        other = subprocess.Popen([sys.executable, "-c", _COMMAND, str(data_dir)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
    assert server.is_alive()  # it was ours, but the other command still needs it
    other.kill()
    other.wait()
    other.stdout.close()
    _wait_until(lambda: not _server_processes(data_dir), 10)


def test_a_killed_command_leaves_no_server_behind(data_dir: Path) -> None:
    command = subprocess.Popen([sys.executable, "-c", _COMMAND, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    assert command.stdout.readline() == "up\n"
    assert _server_processes(data_dir)
    command.kill()
    command.wait()
    command.stdout.close()
    _wait_until(lambda: not _server_processes(data_dir), 10)


@pytest.mark.parametrize("victim", ["main", "backend", "everything"])
def test_what_was_committed_survives_sigkill(
    data_dir: Path, supervised: Callable[[], subprocess.Popen[str]], victim: str
) -> None:
    server = EmbeddedServer(data_dir)
    program = supervised()
    server.wait_ready(60)
    with connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        backend = connection.info.backend_pid
        # one that looks at nothing for a long time, as a big load does
        busy = subprocess.Popen([sys.executable, "-c", _BUSY, server.url()], stdout=subprocess.PIPE, text=True)
        assert busy.stdout is not None
        assert busy.stdout.readline() == "busy\n"
        for pid in {"main": [program.pid], "backend": [backend], "everything": _server_processes(data_dir)}[victim]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    busy.kill()
    busy.wait()
    busy.stdout.close()
    began = time.monotonic()
    if victim != "backend":
        program.wait(10)
        program = supervised()
    server.wait_ready(60)
    assert time.monotonic() - began < 20
    assert program.poll() is None
    with connect(server.url()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


_BUSY = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("busy", flush=True)
    connection.execute("SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000) b")
"""


def test_a_killed_guard_takes_its_server_along(data_dir: Path) -> None:
    with pytest.raises(psycopg.OperationalError), EmbeddedServer(data_dir).running() as url:  # noqa: PT012
        connection = connect(url)
        for stat in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"embedded/guard.py" in (line := stat.read_bytes()) and os.fsencode(data_dir) in line:
                    os.kill(int(stat.parent.name), signal.SIGKILL)
        _wait_until(lambda: not _server_processes(data_dir), 10)
        connection.execute("SELECT 1")


def test_a_supervised_server_can_be_tied_to_its_supervisor(data_dir: Path) -> None:
    tied = f"{_EXEC} EmbeddedServer(Path(sys.argv[1])).exec_server(die_with_parent=True)"
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.run(sys.argv[1:])",
            sys.executable,
            "-c",
            tied,
            data_dir,
        ]
    )
    EmbeddedServer(data_dir).wait_ready(60)
    supervisor.kill()
    supervisor.wait()
    _wait_until(lambda: not _server_processes(data_dir), 20)


@pytest.mark.skipif(not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")), reason="no PostgreSQL in the system")
def test_without_the_wheel_the_systems_programs_serve(empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    with EmbeddedServer(empty_dir).running() as url:
        assert migrate(url)
        assert migrate(url) == []
        with connect(url) as connection:
            print(connection.info.server_version)


def test_without_any_programs_it_says_what_to_install(empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    with pytest.raises(StoreError, match=r"pip install 'crypto-pipeline\[server\]'"):
        EmbeddedServer(empty_dir).prepare()


def test_a_second_owner_is_refused_with_the_folders_name(
    data_dir: Path, supervised: Callable[[], subprocess.Popen[str]]
) -> None:
    server = EmbeddedServer(data_dir)
    first = supervised()
    server.wait_ready(60)
    second = supervised()
    assert second.wait(20) != 0
    assert second.stderr is not None
    assert f"already runs the database in {data_dir}" in second.stderr.read()
    assert first.poll() is None
    server.prepare()  # harmless meanwhile
    with server.running() as url:  # uses the one that runs
        assert connect(url).info.server_version >= 150000
    assert server.is_alive()


def test_a_supervised_server_takes_over_when_the_last_command_ends(
    data_dir: Path, supervised: Callable[[], subprocess.Popen[str]]
) -> None:
    server = EmbeddedServer(data_dir)
    with server.running():
        program = supervised()
        assert program.stderr is not None
        assert "waiting for a running command" in program.stderr.readline()
    server.wait_ready(30)
    assert program.pid in _server_processes(data_dir)


def test_sigint_is_a_clean_shutdown_with_clients_connected(
    data_dir: Path, supervised: Callable[[], subprocess.Popen[str]]
) -> None:
    program = supervised()
    server = EmbeddedServer(data_dir)
    server.wait_ready(60)
    connection = connect(server.url())
    program.send_signal(signal.SIGINT)
    assert program.wait(20) == 0
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    assert _server_processes(data_dir) == []


@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_an_interrupted_first_start_is_made_up_for(
    empty_dir: Path, supervised: Callable[[], subprocess.Popen[str]], delay: float
) -> None:
    program = supervised()
    _wait_until((empty_dir / "postgres/data.new").exists, 20)
    time.sleep(delay)  # somewhere in the middle of initdb
    program.kill()
    program.wait()
    with EmbeddedServer(empty_dir).running() as url:
        connect(url).close()
    assert not (empty_dir / "postgres/data.new").exists()


def test_a_copy_does_not_take_the_server_of_the_original_for_its_own(data_dir: Path) -> None:
    with EmbeddedServer(data_dir).running():
        copy = Path(tempfile.mkdtemp(prefix="cp-copy-"))
        try:
            (copy / "postgres/data").mkdir(parents=True)
            for name in ("password", "port"):
                shutil.copy(data_dir / "postgres" / name, copy / "postgres" / name)
            assert EmbeddedServer(data_dir).is_alive()
            assert not EmbeddedServer(copy).is_alive()
        finally:
            shutil.rmtree(copy)


def test_a_stale_pid_file_of_a_living_stranger_does_not_block(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    with server.running():
        pass
    stranger = subprocess.Popen(["sleep", "60"])
    stale = data_dir / "postgres/data/postmaster.pid"
    stale.write_text(f"{stranger.pid}\n{stale.parent}\n1\n5432\n\n\n\n")
    try:
        with server.running() as url:
            connect(url).close()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_replaced_and_the_new_one_kept(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    server.prepare()
    port = int((data_dir / "postgres/port").read_text())
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other tests had a server on it
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with server.running() as url:
            assert f":{port}/" not in url
            moved = url
    with server.running() as url:
        assert url == moved


def test_a_long_path_does_without_the_socket(empty_dir: Path) -> None:
    deep = empty_dir / ("x" * 100)
    with EmbeddedServer(deep).running() as url:
        connect(url).close()
    shutil.rmtree(deep)


def test_quotes_and_spaces_in_the_path(empty_dir: Path) -> None:
    with EmbeddedServer(empty_dir / "it's a path").running() as url:
        connect(url).close()


def test_an_unprepared_folder_has_no_url(empty_dir: Path) -> None:
    with pytest.raises(StoreError, match="no database in"):
        EmbeddedServer(empty_dir).url()


def test_a_file_in_the_way_is_named(empty_dir: Path) -> None:
    (empty_dir / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"file.*CRYPTO_PIPELINE_DATA_DIR"),
        EmbeddedServer(empty_dir / "file").running(),
    ):
        pass


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    if not AS_ROOT or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "x", folder], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _said(error: pytest.ExceptionInfo[StoreError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("prepared", [False, True])
def test_a_read_only_folder_is_named_with_the_fix(empty_dir: Path, prepared: bool) -> None:
    with _mounted(empty_dir, "size=200m"):
        if prepared:
            EmbeddedServer(empty_dir).prepare()
        subprocess.run(["mount", "-o", "remount,ro", empty_dir], check=True)
        with pytest.raises(StoreError) as error, EmbeddedServer(empty_dir).running():
            pass
        assert str(empty_dir) in _said(error)
        assert "write access" in _said(error)


@pytest.mark.parametrize("size", ["4k", "20m"])
def test_a_full_disk_is_named_with_the_fix(empty_dir: Path, size: str) -> None:
    with _mounted(empty_dir, f"size={size}"):
        with pytest.raises(StoreError) as error, EmbeddedServer(empty_dir).running():
            pass
        assert "is full: free some space" in _said(error)
        subprocess.run(["mount", "-o", "remount,size=300m", empty_dir], check=True)
        with EmbeddedServer(empty_dir).running() as url:  # and it goes on from there
            connect(url).close()


def test_an_unwritable_parent_is_named_with_the_fix(empty_dir: Path) -> None:
    empty_dir.chmod(0o555)
    me = os.geteuid()
    if AS_ROOT:
        os.seteuid(run_as.NOBODY)
    try:
        with pytest.raises(StoreError) as error, EmbeddedServer(empty_dir / "below").running():
            pass
    finally:
        os.seteuid(me)
    assert f"cannot write {empty_dir}/below" in _said(error)
    assert "write access" in _said(error)


@pytest.mark.skipif(not AS_ROOT, reason="only root has to step down")
class TestAsRoot:
    def test_without_namespaces_nobody_runs_it(self, empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_as, "_namespace", lambda: ())
        empty_dir.chmod(0o755)
        with EmbeddedServer(empty_dir).running() as url, connect(url) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            assert Path(f"/proc/{row[0]}").stat().st_uid == run_as.NOBODY
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert empty_dir.stat().st_mode & 0o777 == 0o755
        monkeypatch.undo()  # what nobody made, nobody goes on running
        with EmbeddedServer(empty_dir).running() as url, connect(url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)

    def test_a_parent_closed_to_nobody_is_named(self, empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_as, "_namespace", lambda: ())
        with pytest.raises(StoreError, match=f"cannot enter {empty_dir}"), EmbeddedServer(empty_dir).running():
            pass

    def test_works_under_a_parent_for_root_only(self, empty_dir: Path) -> None:
        assert empty_dir.stat().st_mode & 0o077 == 0
        with EmbeddedServer(empty_dir).running() as url:
            connect(url).close()


def test_another_users_folder_is_refused(empty_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StoreError, match=r"belongs to user .* and this is user 12345"):
        run_as.choose(empty_dir, Path(sys.executable))


def test_data_of_another_version_is_refused(empty_dir: Path) -> None:
    made = cluster.Cluster(empty_dir / "postgres", "127.0.0.1")
    made.data.mkdir(parents=True)
    (made.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreError, match="made by PostgreSQL 9, but installed is"):
        EmbeddedServer(empty_dir).prepare()


def _server_processes(data_dir: Path) -> list[int]:
    """Whoever has the owner lock open: PostgreSQL's processes, and nobody else once it runs."""
    return [pid for pid in file_locks.holders(data_dir / "postgres/owner.lock") if pid != os.getpid()]


def _wait_until(condition: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
