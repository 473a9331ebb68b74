"""pgbouncer in transaction mode before a test server, and the role that it uses there."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from crypto_pipeline.store import DatabaseUrl
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline.store.embedded import run_as

#: Debian installs it where only root's path leads.
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
ABSENT = "pgbouncer is not installed: `apt-get install pgbouncer`"
ROLE, PASSWORD = "pooled", "pooled-password"
#: What a careful administrator gives to a role of an application.
STATEMENT_TIMEOUT = "120s"

_CONFIGURATION = """\
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
server_idle_timeout = 5
server_login_retry = 1
logfile = {folder}/pgbouncer.log
{more}
"""


def make_role(admin: str, *, name: str = ROLE, timeout: str = STATEMENT_TIMEOUT) -> None:
    """A role that may log in and nothing else, on the server of ``admin``."""
    with connect(admin) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"ALTER ROLE {name} SET statement_timeout = '{timeout}'")


def as_role(url: str, name: str = ROLE) -> str:
    """``url`` for the role of ``make_role``."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


class PgBouncer:
    """A running pgbouncer."""

    def __init__(self, server: str, port: int) -> None:
        self._server, self.port = server, port

    def url(self, database: str) -> DatabaseUrl:
        """URL of a database through this pgbouncer, for the role."""
        direct = as_role(with_database(self._server, database))
        return DatabaseUrl(self.alone(database), direct)

    def alone(self, database: str) -> str:
        """The same without the direct URL."""
        parts = urlsplit(as_role(with_database(self._server, database)))
        return parts._replace(netloc=f"{ROLE}:{PASSWORD}@127.0.0.1:{self.port}").geturl()


@contextmanager
def running(folder: Path, server: str, *, pool_size: int = 5, more: Sequence[str] = ()) -> Iterator[PgBouncer]:
    """pgbouncer before the server of the URL ``server``, with its files in ``folder``; ``more`` lines configure it."""
    assert PROGRAM is not None, ABSENT
    parts = urlsplit(server)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "users.txt").write_text(f'"{ROLE}" "{PASSWORD}"\n')
    text = _CONFIGURATION.format(
        host=parts.hostname, server_port=parts.port, port=port, folder=folder, pool_size=pool_size, more="\n".join(more)
    )
    (folder / "pgbouncer.ini").write_text(text)
    chosen = run_as.choose(folder, Path(PROGRAM))  # like PostgreSQL it refuses to run as root
    command = [*chosen.prefix, PROGRAM, "-q", str(folder / "pgbouncer.ini")]
    for path in (folder, *folder.iterdir()):
        chosen.own(path)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **chosen.popen_arguments())
    try:
        found = PgBouncer(server, port)
        _wait(found, process, folder)
        yield found
    finally:
        process.terminate()
        process.wait(10)


def _wait(pooler: PgBouncer, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(pooler.alone("postgres"), connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            alive = process.poll() is None and time.monotonic() < until
            assert alive, (folder / "pgbouncer.log").read_text()
            time.sleep(0.02)  # polling, because pgbouncer does not notify us
