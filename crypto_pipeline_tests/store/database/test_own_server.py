"""A server of our own administrator: without a free connection, and killed in the middle of work behind a pooler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from crypto_pipeline.store import EmbeddedServer, StoreError
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import DatabaseAwayError
from crypto_pipeline.store.database.file_locks import holders
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline_tests.builders import pgbouncer
from crypto_pipeline_tests.store.database.test_pool import _SERVE, _wait

ROOM = 8
_INSERT = "INSERT INTO steps VALUES (%s, %s) ON CONFLICT DO NOTHING"


class OwnServer:
    """A server with few connections, whose database ``market`` belongs to a role without other rights."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.server = EmbeddedServer(Path(folder))
        self.server.prepare()
        settings = f"fsync = off\nshared_buffers = 32MB\nmax_connections = {ROOM}\nsuperuser_reserved_connections = 2\n"
        (Path(folder) / "postgres/data/local.conf").write_text(settings)
        self.start()
        self.admin = self.server.url("postgres")
        pgbouncer.make_role(self.admin)
        with connect(self.admin) as connection:
            connection.execute(f"CREATE DATABASE market OWNER {pgbouncer.ROLE}")
        self.url = pgbouncer.as_role(self.server.url("market"))

    def start(self) -> None:
        self.program = subprocess.Popen([sys.executable, "-c", _SERVE, self.folder])
        self.server.wait_ready(60)

    def kill(self) -> None:
        for pid in holders(Path(self.folder) / "postgres/owner.lock"):
            os.kill(pid, signal.SIGKILL)
        self.program.wait()


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServer]:
    with TemporaryDirectory(prefix="cp-own-") as folder:
        made = OwnServer(folder)
        yield made
        made.program.send_signal(signal.SIGINT)
        made.program.wait(30)


def _execute(connection: psycopg.Connection, statement: str, values: list[int]) -> None:
    connection.execute(statement, values)


def _fill(url: str, stack: ExitStack) -> None:
    """Take every connection that the server gives."""
    for _ in range(ROOM + 1):
        try:
            stack.enter_context(closing(psycopg.connect(url)))
        except psycopg.OperationalError:
            return


def test_a_server_without_a_free_connection_is_told_and_outlived(own: OwnServer) -> None:
    uses = {
        "row": lambda connections: connections.row("SELECT 7")[0],
        "run": lambda connections: connections.run(lambda c: c.execute("SELECT 7").fetchone())[0],
        "frame": lambda connections: connections.frame("SELECT 7 AS n")["n"][0],
    }
    with ExitStack() as stack:
        reached = {name: stack.enter_context(closing(Connections(own.url, 2, patience=1.0))) for name in uses}
        for connections in reached.values():  # later its address is known to be right
            connections._before_use()
        with ExitStack() as others:
            _fill(own.url, others)
            with pytest.raises(StoreError, match=r"no free connection .*max_connections"):
                connect(own.url)
            for name, use in uses.items():
                with pytest.raises(DatabaseAwayError, match=r"no free connection .*max_connections"):
                    use(reached[name])
        for name, use in uses.items():
            assert use(reached[name]) == 7


@pytest.mark.skipif(pgbouncer.PROGRAM is None, reason=pgbouncer.ABSENT)
def test_a_server_killed_behind_a_pooler_is_outlived(own: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two writers and two readers over a pool of three; every step counts once."""
    with TemporaryDirectory(prefix="cp-bouncer-") as folder, ExitStack() as stack:
        bouncer = stack.enter_context(pgbouncer.running(Path(folder), own.admin, pool_size=3))
        connections = stack.enter_context(closing(Connections(bouncer.url("market"), patience=60)))
        connections.run(_execute, "CREATE TABLE steps (writer int, step int, UNIQUE (writer, step))", [])
        done, stop = [0, 0, 0, 0], threading.Event()

        def write(writer: int) -> None:
            while not stop.is_set():
                connections.run(_execute, _INSERT, [writer, done[writer]])
                done[writer] += 1

        def read() -> None:
            while not stop.is_set():
                connections.frame("SELECT count(*) FROM steps")
                done[2] += 1
                connections.row("SELECT count(*) FROM steps")
                done[3] += 1

        with ThreadPoolExecutor(3) as threads:
            tasks = [threads.submit(write, 0), threads.submit(write, 1), threads.submit(read)]
            try:
                for restart in (True, False):
                    before = list(done)
                    _wait(lambda before=before: all(b > a + 2 for a, b in zip(before, done, strict=True)))  # type: ignore[misc]
                    if restart:
                        own.kill()
                        own.start()
            finally:
                stop.set()
            for task in tasks:
                task.result(60)
        counted = connections.frame("SELECT writer, count(*) AS n FROM steps GROUP BY 1 ORDER BY 1")
        assert counted["n"].to_list() == done[:2]
