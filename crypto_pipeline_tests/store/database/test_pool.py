"""Connections: typed frames, one retry rule, clear errors, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import sqlalchemy

from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.file_locks import holders
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline_tests.builders.databases import backend


def test_frames_come_typed_and_in_utc(connections: Connections) -> None:
    frame = connections.frame("SELECT $1::int AS n, now() AS t, 1.5::float8 AS f, $2::text AS s", [3, "x"])
    assert frame["n"].to_list() == [3]
    assert str(frame.schema["t"]) == "Datetime(time_unit='us', time_zone='UTC')"
    assert connections.run(lambda c: c.execute("SHOW timezone").fetchone()) == ("UTC",)


def test_many_threads_share_few_connections(connections: Connections) -> None:
    def both(number: int) -> int:
        row = connections.run(lambda c: c.execute("SELECT %s::int", [number]).fetchone())
        assert row is not None
        return int(row[0]) + int(connections.frame("SELECT $1::int AS n", [number])["n"][0])

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(both, range(200))) == [2 * n for n in range(200)]
    count = connections.run(
        lambda c: c.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()
    )
    assert count is not None
    assert count[0] <= 2 * connections.size


def test_reads_one_after_the_other_use_one_connection(connections: Connections) -> None:
    pids = {connections.row("SELECT pg_backend_pid()")[0] for _ in range(2 * connections.size)}
    assert len(pids) == 1


def test_a_failed_transaction_leaves_nothing_and_is_not_repeated(connections: Connections) -> None:
    calls = 0

    def work(connection: psycopg.Connection) -> None:
        nonlocal calls
        calls += 1
        connection.execute("CREATE TABLE nothing_of_it (n int)")
        connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        connections.run(work)
    assert calls == 1
    assert connections.run(lambda c: c.execute("SELECT to_regclass('nothing_of_it')").fetchone()) == (None,)


def test_a_cut_connection_is_replaced_unnoticed(connections: Connections) -> None:
    calls = 0

    def work(connection: psycopg.Connection) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:  # somebody ends us in the middle of the transaction
            with connect(connections.url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend(connection)])
        row = connection.execute("SELECT 7").fetchone()
        assert row is not None
        return int(row[0])

    assert connections.run(work) == 7
    assert calls == 2
    connections.frame("SELECT 1")
    with connect(connections.url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
        )
    assert connections.frame("SELECT 7 AS n")["n"].to_list() == [7]


def test_a_closed_store_says_so(connections: Connections) -> None:
    connections.close()
    with pytest.raises(StoreError, match="closed"):
        connections.frame("SELECT 1")


def test_an_unreachable_server_is_named_within_seconds() -> None:
    began = time.monotonic()
    connections = Connections("postgresql://u:secret@127.0.0.1:1/db")
    for use in (lambda: connections.run(lambda c: None), lambda: connections.frame("SELECT 1")):
        with pytest.raises(StoreError, match=r"cannot reach PostgreSQL at 127.0.0.1:1: .*CRYPTO_PIPELINE_DATABASE_URL"):
            use()
    assert time.monotonic() - began < 6


_SERVE = """
import sys
from pathlib import Path
from crypto_pipeline.store.embedded.server import EmbeddedServer
EmbeddedServer(Path(sys.argv[1])).exec_server()
"""


@pytest.mark.faults
def test_a_connection_of_sqlalchemy_is_one_of_the_pool_and_is_replaced_when_it_is_cut(connections: Connections) -> None:
    pids: list[int] = []

    def work(connection: sqlalchemy.Connection) -> int:
        pids.append(connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar_one())
        if len(pids) == 2:
            with connect(connections.url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pids[-1]])
        return connection.execute(sqlalchemy.select(sqlalchemy.literal(7))).scalar_one()

    assert connections.run_core(work) == 7
    assert connections.run_core(work) == 7
    assert len(pids) == 3
    assert pids[2] != pids[1]
    for _ in range(3 * connections.size):  # each is given back
        assert connections.run_core(work) == 7


def test_an_error_of_a_core_statement_is_psycopgs_and_leaves_nothing(connections: Connections) -> None:
    def work(connection: sqlalchemy.Connection) -> None:
        connection.execute(sqlalchemy.text("CREATE TABLE nothing_of_core (n int)"))
        connection.execute(sqlalchemy.text("SELECT 1 / 0"))

    with pytest.raises(psycopg.errors.DivisionByZero):
        connections.run_core(work)
    assert connections.run(lambda c: c.execute("SELECT to_regclass('nothing_of_core')").fetchone()) == (None,)


def test_a_forked_child_has_core_connections_of_its_own(connections: Connections) -> None:
    def pid(connection: sqlalchemy.Connection) -> int:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        return driver.info.backend_pid  # the pooler's number of the connection where there is one

    ours = connections.run_core(pid)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(connections.run_core(pid)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = int(pipe.read())
    os.waitpid(child, 0)
    assert theirs != ours
    assert connections.run_core(pid) != theirs


def test_writers_and_readers_outlive_a_killed_server() -> None:
    """PostgreSQL is killed whole three times while two threads write and one reads; every step counts exactly once."""
    with TemporaryDirectory(prefix="cp-pool-") as folder:
        server = EmbeddedServer(Path(folder))
        program = subprocess.Popen([sys.executable, "-c", _SERVE, folder])
        server.wait_ready(60)
        connections = Connections(server.url())
        connections.run(lambda c: c.execute("CREATE TABLE steps (writer int, step int, UNIQUE (writer, step))"))
        done, seen, stop = [0, 0], [0], threading.Event()

        def write(writer: int) -> None:
            while not stop.is_set():
                step = done[writer]
                connections.run(
                    lambda c, step=step: c.execute(  # type: ignore[misc]
                        "INSERT INTO steps VALUES (%s, %s) ON CONFLICT DO NOTHING", [writer, step]
                    )
                )
                done[writer] += 1

        def read() -> None:
            while not stop.is_set():
                connections.frame("SELECT count(*) FROM steps")
                seen[0] += 1

        with ThreadPoolExecutor(3) as threads:
            tasks = [threads.submit(write, 0), threads.submit(write, 1), threads.submit(read)]
            slowest = 0.0
            for _ in range(3):
                before = (*done, *seen)
                _wait(lambda before=before: all(b > a for a, b in zip(before, (*done, *seen), strict=True)))  # type: ignore[misc]
                for pid in holders(Path(folder) / "postgres/owner.lock"):
                    os.kill(pid, signal.SIGKILL)
                program.wait()
                program = subprocess.Popen([sys.executable, "-c", _SERVE, folder])
                server.wait_ready(60)
                back = time.monotonic()
                before = (*done, *seen)
                _wait(lambda before=before: all(b > a for a, b in zip(before, (*done, *seen), strict=True)))  # type: ignore[misc]
                slowest = max(slowest, time.monotonic() - back)
            stop.set()
            for task in tasks:
                task.result(60)
        rows = connections.frame("SELECT writer, count(*) AS n, max(step) AS last FROM steps GROUP BY 1 ORDER BY 1")
        assert rows["n"].to_list() == done
        connections.close()
        program.send_signal(signal.SIGINT)
        program.wait(30)
        assert slowest < 10


def _wait(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
