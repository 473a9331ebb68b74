"""A real PostgreSQL for every test that asks: one server per session, one fresh migrated database per test.

Also the folder of recorded exchange data, and which test files may run side by side.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.schema.migrations import migrate
from crypto_pipeline_tests.builders.places import recorded_folder

#: A week of history unless a test says otherwise; the default of the generated market takes much longer to collect.
os.environ.setdefault("CRYPTO_PIPELINE_DAYS", "7")

_TEMPLATE = "migrated_template"
#: Tests of whole deployments, a dozen programs each: of those never two run side by side.
_DEPLOYMENTS = ("browser/", "ops/supervision/test_up.py", "ops/housekeeping/test_disk.py", "ingest/test_processes.py")
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
    folder = Path(tempfile.mkdtemp(prefix="cp-test-"))
    server = EmbeddedServer(folder)
    try:
        server.prepare()
        (folder / "postgres/data/local.conf").write_text(
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
        )
        with server.running():
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: EmbeddedServer) -> str:
    """Name of a migrated database to copy."""
    migrate(postgres_server.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def postgres_url(postgres_server: EmbeddedServer, postgres_template: str) -> Iterator[str]:
    """URL of a fresh, migrated, empty database, dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = postgres_server.url("postgres")
    with connect(admin) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY FILE_COPY")
    yield with_database(admin, name)
    with connect(admin) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
