"""A server that is reached with TLS, by every driver that we use and by pg_dump."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from crypto_pipeline.ops.backups import backup
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, StoreError, dagster_url, ensure_databases, migrate
from crypto_pipeline.store.database.connect import MINIMUM_VERSION, connect, plain_url
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.embedded import binaries
from crypto_pipeline.store.embedded.binaries import Binaries

_SSL = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def _with_tls() -> Binaries | None:
    """An installation whose server and programs were built with TLS."""
    for folder in binaries._candidates():
        version = binaries._version(folder / "postgres")
        if version and version >= MINIMUM_VERSION and (folder / "initdb").exists() and binaries._encrypts(folder):
            return Binaries(folder, version)
    return None


PROGRAMS = _with_tls()

pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL with TLS is installed: `apt-get install postgresql`"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, which makes the certificate"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Path]]:
    """The URL of a server with a certificate for 127.0.0.1, and the file of that certificate."""
    folder = Path(tempfile.mkdtemp(prefix="cp-tls-"))
    made = EmbeddedServer(folder)
    assert PROGRAMS is not None
    made._cluster.binaries = PROGRAMS
    made.prepare()
    data, certificate = folder / "postgres/data", folder / "server.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(data / "server.key"), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.copy(certificate, data / "server.crt")
    (data / "server.key").chmod(0o600)
    for name in ("server.key", "server.crt"):
        shutil.chown(data / name, data.stat().st_uid, data.stat().st_gid)
    (data / "local.conf").write_text("fsync = off\nshared_buffers = 32MB\nssl = on\n")
    with made.running():
        yield made.url("market"), certificate
    shutil.rmtree(folder, ignore_errors=True)


def test_every_driver_and_a_backup_verify_the_server(server: tuple[str, Path], tmp_path: Path) -> None:
    url = f"{server[0]}?sslmode=verify-full&sslrootcert={server[1]}"
    assert migrate(url)
    with closing(Connections(url)) as connections:
        assert connections.run(lambda c: c.execute(_SSL).fetchone()) == (True,)
        assert connections.row(_SSL) == (True,)
        assert connections.frame(_SSL)["ssl"].to_list() == [True]
    settings = load_settings(data_dir=tmp_path, database_url=url)
    dagster = plain_url(dagster_url(settings, url))
    ensure_databases(dagster, ["market_dagster"])
    with closing(psycopg2.connect(dagster)) as connection, connection.cursor() as cursor:
        cursor.execute(_SSL)
        assert cursor.fetchone() == (True,)
    made = backup.make(settings, url, 0, lambda text: None)
    assert made.manifest.tables["market"]


def test_a_server_with_another_certificate_is_refused(server: tuple[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-out", str(other)]
    subprocess.run([*command, "-keyout", str(tmp_path / "other.key")], check=True, capture_output=True)
    url = f"{server[0]}?sslmode=verify-full&sslrootcert={other}"
    with pytest.raises(StoreError, match="certificate verify failed"):
        connect(url)
    with closing(Connections(url)) as connections, pytest.raises(StoreError, match="certificate verify failed"):
        connections.frame("SELECT 1")


def test_programs_without_tls_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PROGRAMS is not None
    folders = list(binaries._candidates())
    without = [folder for folder in folders if binaries._version(folder / "pg_dump") and not binaries._encrypts(folder)]
    assert Path(binaries.client_program("pg_dump", PROGRAMS.version, tls=True).path).parent not in without
    if without:
        monkeypatch.setattr(binaries, "_candidates", lambda: iter(without))
        with pytest.raises(StoreError, match="with TLS"):
            binaries.client_program("pg_dump", MINIMUM_VERSION, tls=True)
