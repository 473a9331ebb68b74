"""A real PostgreSQL for every test that asks: one server per session, one fresh migrated database per test.

Also the folder of recorded exchange data, and which test files may run side by side.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline.store.database.sessions.pooler import DIRECT_VARIABLE, DatabaseUrl
from crypto_pipeline.store.embedded import binaries
from crypto_pipeline.store.embedded.binaries import Binaries
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.schema.migrations import migrate
from crypto_pipeline_tests.builders import pgbouncer
from crypto_pipeline_tests.builders.databases import NewDatabase, copied
from crypto_pipeline_tests.builders.pgbouncer import PgBouncer
from crypto_pipeline_tests.builders.places import recorded_folder, server_folder

#: A week of history unless a test says otherwise; the default of the generated market takes much longer to collect.
os.environ.setdefault("CRYPTO_PIPELINE_DAYS", "7")

_TEMPLATE = "migrated_template"
#: Tests of whole deployments, a dozen programs each: of those never two run side by side.
_DEPLOYMENTS = (
    "browser/", "ingest/test_processes.py", "ops/housekeeping/test_disk.py", "ops/supervision/test_up.py",
    "ops/test_runbook.py",
)  # fmt: skip
#: They begin: of what takes a minute or more nothing may be left when all else is done.
_LONGEST = (
    "deployments",
    *(
        f"crypto_pipeline_tests/{file}.py"
        for file in (
            "faults/test_any_kill", "defs/test_labels", "test_moved_clock", "defs/test_definitions", "defs/test_bars",
            "defs/test_features", "ingest/test_lease", "ingest/test_ingest", "ingest/test_trouble",
            "defs/test_recording", "test_extending", "defs/test_views", "realdata/test_pipeline_real",
            "ingest/test_bar_term",
        )
    ),
)  # fmt: skip
_numbers = itertools.count()
#: Folder with the programs of another PostgreSQL, on which the tests run instead of the package's.
_PROGRAMS = os.environ.get("CRYPTO_PIPELINE_TEST_PROGRAMS")
#: Tests reach their databases through pgbouncer in transaction mode: CRYPTO_PIPELINE_TEST_POOLER=1.
_POOLED = os.environ.get("CRYPTO_PIPELINE_TEST_POOLER") == "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n`` a file stays with one process, which shares its servers; so do all whole deployments."""
    from xdist.scheduler import LoadFileScheduling

    class ByServers(LoadFileScheduling):  # type: ignore[misc]  # untyped package
        def _assign_work_unit(self, node: Any) -> None:
            if not any(self.assigned_work.values()):  # the first one
                for scope in reversed([each for each in _LONGEST if each in self.workqueue]):
                    self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "deployments" if file.split("/", 1)[-1].startswith(_DEPLOYMENTS) else file

    return ByServers(config, log)


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded exchange data; tests that need it are skipped where it is absent."""
    return recorded_folder()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedServer]:
    """The session's own embedded server, without fsync (tests that pull plugs make servers of their own)."""
    # a short path, so that the socket's path stays short; pytest's own are readable by root only
    folder = server_folder("cp-test-")
    server = EmbeddedServer(folder)
    if _PROGRAMS is not None:
        version = binaries._version(Path(_PROGRAMS) / "postgres")
        assert version is not None, f"no PostgreSQL in {_PROGRAMS}"
        server._cluster.binaries = Binaries(Path(_PROGRAMS), version)
    try:
        server.prepare()
        (folder / "postgres/data/local.conf").write_text(
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_wal_size = 256MB\n"
        )
        with server.running():
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pgbouncer_role(postgres_server: EmbeddedServer) -> str:
    """Name of a role that owns only the databases given to it, with a limit on the time of statements."""
    pgbouncer.make_role(postgres_server.url("postgres"))
    return pgbouncer.ROLE


@pytest.fixture(scope="session")
def pooler(postgres_server: EmbeddedServer, pgbouncer_role: str) -> Iterator[PgBouncer]:
    """pgbouncer in transaction mode before the session's server."""
    if pgbouncer.PROGRAM is None:
        pytest.skip(pgbouncer.ABSENT)
    folder = Path(tempfile.mkdtemp(prefix="cp-bouncer-"))
    with pgbouncer.running(folder, postgres_server.url("postgres")) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: EmbeddedServer, request: pytest.FixtureRequest) -> str:
    """Name of a migrated database to copy."""
    url = postgres_server.url(_TEMPLATE)
    if _POOLED:
        owner = request.getfixturevalue("pgbouncer_role")
        with connect(postgres_server.url("postgres")) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE} OWNER {owner}")
        url = pgbouncer.as_role(url)
    migrate(url)
    return _TEMPLATE


@pytest.fixture(scope="session")
def new_database(
    postgres_server: EmbeddedServer, postgres_template: str, request: pytest.FixtureRequest
) -> NewDatabase:
    """Makes a migrated, empty database of a name, and drops it after the block, which gets its URL."""
    admin = postgres_server.url("postgres")
    made: PgBouncer | None = request.getfixturevalue("pooler") if _POOLED else None

    @contextmanager
    def make(name: str) -> Iterator[str]:
        with copied(admin, postgres_template, name, owner=pgbouncer.ROLE if made is not None else None):
            yield made.url(name) if made is not None else with_database(admin, name)

    return make


@pytest.fixture(autouse=True)
def _own_server(request: pytest.FixtureRequest) -> None:
    """Behind a pooler, a role without those rights has the database: what needs them is tested without it."""
    if _POOLED and request.node.get_closest_marker("own_server") is not None:
        pytest.skip("needs the rights of the server's owner, or other databases of the server")


@pytest.fixture(autouse=True)
def _direct_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a pooler, programs and settings of a test on a shared database find its direct URL."""
    for name in ("read_database", "served_database", "bar_database"):
        if _POOLED and name in request.fixturenames:
            _set_urls(monkeypatch, request.getfixturevalue(name))


@pytest.fixture
def postgres_url(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a fresh, migrated, empty database, dropped after the test."""
    with new_database(f"test_{os.getpid()}_{next(_numbers)}") as url:
        _set_urls(monkeypatch, url)
        yield url


@pytest.fixture
def use_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the settings of this test name the database at a URL."""

    def use(url: str) -> None:
        monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", url)
        _set_urls(monkeypatch, url)

    return use


def _set_urls(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Behind a pooler, settings that name the database of a test get its direct URL too."""
    if isinstance(url, DatabaseUrl):
        monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", url)
        monkeypatch.setenv(DIRECT_VARIABLE, url.direct)
