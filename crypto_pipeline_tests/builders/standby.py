"""A primary that may be replicated, and a streaming replica of it, both of the package's PostgreSQL."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from crypto_pipeline.store.embedded.server import EmbeddedServer

_REPLICATED = "wal_level = replica\nmax_wal_senders = 4\nfsync = off\nfull_page_writes = off\n"


@contextmanager
def replicated_primary(folder: Path) -> Iterator[EmbeddedServer]:
    """A server in ``folder`` that writes what a replica needs; without fsync."""
    server = EmbeddedServer(folder)
    server.prepare()
    (folder / "postgres/data/local.conf").write_text(_REPLICATED)
    with server.running():
        yield server


class Standby:
    """A streaming replica of ``primary`` in a folder beside its data."""

    def __init__(self, primary: EmbeddedServer, settings: str = "") -> None:
        cluster = primary._cluster
        self._primary, self._run_as = primary, cluster.run_as()
        self.data = cluster.folder / "standby"
        self.data.mkdir(mode=0o700)
        self._run_as.own(self.data)
        programs = cluster.binaries.folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        copy = [
            str(programs / "pg_basebackup"),
            "-D",
            str(self.data),
            "-R",
            "-c",
            "fast",
            "-d",
            primary.url("postgres"),
        ]
        subprocess.run([*self._run_as.prefix, *copy], check=True, **self._run_as.popen_arguments())
        with (self.data / "local.conf").open("a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = ''\nlogging_collector = off\n{settings}\n")
        self._command = [*self._run_as.prefix, cluster.binaries.postgres, "-D", str(self.data)]
        self.start()

    def url(self, database: str) -> str:
        parts = urlsplit(self._primary.url(database))
        return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(self._command, stdout=null, stderr=null, **self._run_as.popen_arguments())
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < until, "the standby does not start"
                time.sleep(0.05)

    def run(self, statement: str) -> object:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
            return None if row is None else row[0]

    def pause(self) -> None:
        """Replay nothing more."""
        self.run("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self.run("SELECT pg_wal_replay_resume()")

    def caught_up(self) -> None:
        """Wait until it has replayed what the primary has now."""
        with psycopg.connect(self._primary.url("postgres")) as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
        until = time.monotonic() + 30
        while not self.run(f"SELECT pg_last_wal_replay_lsn() >= '{row[0]}'"):
            assert time.monotonic() < until, "the standby does not catch up"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill()
