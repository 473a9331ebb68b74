"""The embedded PostgreSQL server: created, started and stopped without root, containers or PID files.

All files are in ``<data_dir>/postgres``: ``data`` (PostgreSQL's own), ``password``, ``port``, ``log``, ``run`` (the
socket), and two locks. ``owner.lock`` is taken before PostgreSQL starts and inherited by all its processes, so it
is held exactly while one of them runs. Commands hold ``users.lock`` shared while they use a server that ends with
its last user.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import psycopg

from crypto_pipeline.settings import command
from crypto_pipeline.store.database import file_locks
from crypto_pipeline.store.database.connect import connect, ensure_databases
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded import guard as _guard
from crypto_pipeline.store.embedded.cluster import Cluster

DATABASE = "crypto_pipeline"
#: kinds of holders in the lock file: a server that stays, or one that ends with the last command that uses it
_STAYS, _PASSES = "server", "command"
#: seconds that recovery after a crash may take on a slow disk
_PATIENCE = 300


class EmbeddedServer:
    """The server of one data directory. The object is cheap; every process makes its own."""

    def __init__(self, data_dir: Path, host: str = "127.0.0.1") -> None:
        self.data_dir = data_dir.absolute()
        self.host = host
        self._cluster = Cluster(self.data_dir / "postgres", host)
        self._owner_path = self._cluster.folder / "owner.lock"
        self._users_path = self._cluster.folder / "users.lock"

    # -- URL and state --------------------------------------------------------------------------------------------

    def url(self, database: str = DATABASE) -> str:
        """The server's URL with its password (print it through ``redact``). Raises StoreError before ``prepare``."""
        user, password, port = self._cluster.credentials()
        return f"postgresql://{quote(user)}:{quote(password)}@{self.host}:{port}/{quote(database, safe='')}"

    def is_alive(self) -> bool:
        """Whether a connection to the server of this data directory works."""
        try:
            self._try_connection()
        except (psycopg.OperationalError, StoreError):
            return False
        return True

    def wait_ready(self, timeout: float = _PATIENCE) -> None:
        """Wait until the server answers, after recovery, and the project's database exists. Raises StoreError."""
        self._wait(timeout, None)

    def _try_connection(self) -> None:
        with psycopg.connect(self.url("postgres"), connect_timeout=3, autocommit=True) as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        # A copied data directory has the port and the password of its original.
        if row is None or Path(row[0]).resolve() != self._cluster.data.resolve():
            raise StoreError(
                f"the server on the port of {self._cluster.folder} is another one, of {row and row[0]}: where one is a "
                f"copy of the other, remove {self._cluster.folder / 'port'} of the copy to have a new port chosen"
            )

    def _wait(self, timeout: float, guard: subprocess.Popen[bytes] | None) -> None:
        deadline = time.monotonic() + timeout
        pause = 0.01
        while True:
            try:
                self._try_connection()
                break
            except (psycopg.OperationalError, StoreError) as error:  # StoreError: it is not prepared yet
                said = str(error).strip().splitlines()[-1]
            if guard is not None and guard.poll() is not None:
                raise StoreError(f"PostgreSQL in {self._cluster.folder} did not start: {self._cluster.last_words()}")
            if time.monotonic() > deadline:
                raise StoreError(
                    f"PostgreSQL in {self._cluster.folder} did not answer within {timeout:.0f} s: {said}; "
                    f"{self._cluster.last_words()}"
                )
            time.sleep(pause)  # polling, because the server does not notify us
            pause = min(pause * 1.5, 0.25)
        self._make_database()

    def _make_database(self) -> None:
        with connect(self.url("postgres")) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                return
        ensure_databases(self.url("postgres"), [DATABASE])
        with connect(self.url()) as connection, contextlib.suppress(psycopg.Error):
            # for reports of slow queries; some installations lack it
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    # -- ownership ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Prepare the data directory and its configuration for a start. No effect while a server runs there."""
        with self._cluster.explaining():
            self._cluster.make_folder()
            descriptor = file_locks.open_lock(self._owner_path)
        try:
            if self._own(descriptor, _STAYS, wait_for_commands=False):
                self._cluster.prepare(lock=descriptor)
        finally:
            os.close(descriptor)

    def exec_server(self, *, die_with_parent: bool = False) -> NoReturn:
        """Replace this process by the server, for use under a supervisor.

        A supervisor should send SIGINT, the fast shutdown (clients are disconnected, nothing is lost). SIGTERM
        waits for all clients to disconnect; SIGQUIT stops at once, with recovery at the next start. If a command
        runs a server of its own, this waits until it has ended. Raises StoreError if another supervised server uses
        the directory. ``die_with_parent``: shut down fast when the parent process ends.
        """
        with self._cluster.explaining():
            self._cluster.make_folder()
            descriptor = file_locks.open_lock(self._owner_path)
        if not self._own(descriptor, _STAYS, wait_for_commands=True):
            raise StoreError(self._taken())
        self._cluster.prepare(lock=descriptor)
        os.set_inheritable(descriptor, True)
        command = self._cluster.command()
        run_as = self._cluster.run_as()
        run_as.step_down()
        if die_with_parent:
            _guard.die_with_parent()
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(command[0], command)  # noqa: S606

    def _own(self, descriptor: int, kind: str, *, wait_for_commands: bool, patience: float = 30) -> bool:
        """Take the owner lock. False if a running server has it.

        A holder that does not answer may be starting, or may be child processes whose main process was killed. This
        method waits, and ends such child processes after two seconds.
        """
        started = time.monotonic()
        told = False
        while not file_locks.try_lock(descriptor):
            waited = time.monotonic() - started
            if self.is_alive():
                passing = os.pread(descriptor, 100, 0).decode() == _PASSES
                if not (passing and wait_for_commands):
                    return False
                started = time.monotonic()
                if not told:
                    print(f"waiting for a running command to leave the database in {self.data_dir}", file=sys.stderr)
                    told = True
            elif waited > patience:
                raise StoreError(self._taken())
            elif waited > 2:
                self._end_leftovers()
            time.sleep(0.1)  # polling, because a blocking lock could not check the processes meanwhile
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, kind.encode(), 0)
        return True

    def _end_leftovers(self) -> None:
        """SIGKILL processes of a server whose main process has ended; the next start recovers the data."""
        left = []
        for pid in file_locks.holders(self._owner_path):
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if pid == os.getpid():
                continue
            if not title.startswith(b"postgres: "):
                return  # a main process, or a process of ours that starts it
            left.append(pid)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _taken(self) -> str:
        return (
            f"another crypto-pipeline already runs the database in {self.data_dir}: use that one, stop it with "
            f"`{command('down', '--data-dir', self.data_dir)}`, or choose another --data-dir"
        )

    # -- a server for one command ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Provide a running server for the block; yield its URL.

        A server that answers is used. Otherwise one is started, which all further commands share, and which is shut
        down when the last of them has ended, also when they are killed. Raises StoreError.
        """
        with self._cluster.explaining():
            self._cluster.make_folder()
            users = file_locks.open_lock(self._users_path)
        guard = None
        with file_locks.shared(users):
            if not self.is_alive():
                with self._cluster.explaining():
                    guard = self._start_guarded()
            self._wait(_PATIENCE, guard)
            yield self.url()
        if guard is not None:
            _let_stop(guard)

    def _start_guarded(self) -> subprocess.Popen[bytes] | None:
        descriptor = file_locks.open_lock(self._owner_path)
        try:
            if not self._own(descriptor, _PASSES, wait_for_commands=False, patience=_PATIENCE):
                return None  # another command has started one meanwhile, and it answers
            self._cluster.prepare(lock=descriptor)
            run_as = self._cluster.run_as()
            user = "-" if run_as.uid is None else str(run_as.uid)
            guard = [sys.executable, "-I", "-S", _guard.__file__, str(self._users_path), user, str(descriptor)]
            with self._cluster.start_log() as log:
                return subprocess.Popen(
                    [*guard, *self._cluster.command()],
                    pass_fds=(descriptor,),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches the command only; the server stops after the command
                )
        finally:
            os.close(descriptor)


def _let_stop(guard: subprocess.Popen[bytes]) -> None:
    """Wait for the server's end, unless other commands still use it."""
    assert guard.stdout is not None
    ready, _, _ = select.select([guard.stdout], [], [], 1.0)
    if ready:  # the guard reported that it stops the server, or has ended
        guard.wait()
    guard.stdout.close()
