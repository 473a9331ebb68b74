"""Backups from and into every PostgreSQL that is installed here; more may be named in CRYPTO_PIPELINE_TEST_POSTGRES."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto_pipeline.market import Timeframe
from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.housekeeping.table_proofs import prove_tables
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.database.connect import MINIMUM_VERSION, connect, with_database
from crypto_pipeline.store.embedded import binaries
from crypto_pipeline.store.embedded.binaries import Binaries
from crypto_pipeline.store.schema.migrations import migrate
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series
from crypto_pipeline_tests.builders.places import server_folder
from crypto_pipeline_tests.store.archive import test_archive


def installed() -> dict[int, Path]:
    """Folders of programs by major version, with a server that can be started."""
    named = [Path(one) for one in os.environ.get("CRYPTO_PIPELINE_TEST_POSTGRES", "").split(":") if one]
    found: dict[int, Path] = {}
    for folder in [*binaries._candidates(), *named]:
        version = binaries._version(folder / "postgres")
        if version is not None and version >= MINIMUM_VERSION and (folder / "initdb").exists():
            found.setdefault(version, folder)
    return found


INSTALLED = installed()
#: From which version into which; and again with the newest programs alone, where those are not the fitting ones anyway.
MOVES = [(*pair, False) for pair in itertools.product(INSTALLED, INSTALLED) if min(pair) < max(INSTALLED)]
MOVES += [(source, target, True) for source, target, _ in MOVES if max(source, target) < max(INSTALLED, default=0)]


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[int, str]]:
    """One running server of every version: URLs."""
    with ExitStack() as stack:
        urls = {}
        for version, programs in INSTALLED.items():
            folder = server_folder("cp-version-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = EmbeddedServer(folder)
            server._cluster.binaries = Binaries(programs, version)
            server.prepare()
            (folder / "postgres/data/local.conf").write_text("fsync = off\nshared_buffers = 32MB\n")
            urls[version] = stack.enter_context(server.running())
        yield urls


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(INSTALLED.values()))


def test_the_oldest_program_that_fits_is_taken() -> None:
    for version in INSTALLED:
        assert binaries.client_program("pg_dump", version).version == version
    newest = max(INSTALLED)
    assert binaries.client_program("pg_restore", MINIMUM_VERSION).version == min(INSTALLED)
    with pytest.raises(binaries.StoreError, match=f"postgresql-client-{newest + 1}"):
        binaries.client_program("pg_dump", newest + 1)


@pytest.mark.skipif(len(INSTALLED) < 2, reason="only one PostgreSQL is installed here: nothing to move between")
@pytest.mark.parametrize(("source", "target", "newest_program"), MOVES)
def test_a_backup_of_any_version_restores_into_any(
    servers: dict[int, str],
    source: int,
    target: int,
    newest_program: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where only the newest programs are installed, which older servers do not understand wholly."""
    if newest_program:
        newest = INSTALLED[max(INSTALLED)]
        monkeypatch.setattr(binaries, "_candidates", lambda: iter([newest]))
    origin, place = with_database(servers[source], "origin"), with_database(servers[target], "moved")
    start = test_archive.MARCH
    for url in (origin, place):
        with connect(with_database(url, "postgres")) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')
    migrate(origin)
    with Store(origin) as store:
        add_symbols(store)
        store.bars.write(series(count=300, start=start), Timeframe.M1)
        store.bars.write(series(count=300, start=start, seed=2, revised=timedelta(days=1)), Timeframe.M1)
        store.bars.write(series(count=300, start=datetime(2025, 4, 30, tzinfo=UTC)), Timeframe.M1)
        archive = ArchiveStorage(str(tmp_path / "archive"))
        Retention(store.connections, archive, tmp_path / "scratch", test_archive.policy(min_bars=10)).run(
            test_archive.NOW
        )
        expected = test_archive.everything(store, Timeframe.M1)
        made = backup.make(load_settings(data_dir=tmp_path, database_url=origin), origin, 0, silent)
    assert made.manifest.faults == []
    restore(load_settings(data_dir=tmp_path / "copy", database_url=place), made, silent)
    with Store(place) as copy:
        assert test_archive.everything(copy, Timeframe.M1).equals(expected)
        assert miscounted(copy) == []
        assert prove_tables(copy, load_settings()).faults == []
        assert copy.bars.write(series(SYMBOLS, 5, datetime(2025, 6, 1, tzinfo=UTC)), Timeframe.M1).inserted == 20
        assert _objects(copy) == _objects_of(origin)


def test_any_other_error_of_a_restore_is_told(servers: dict[int, str], tmp_path: Path) -> None:
    oldest = min(INSTALLED)
    origin, place = with_database(servers[oldest], "origin"), with_database(servers[oldest], "spoilt")
    migrate(origin)
    made = backup.make(load_settings(data_dir=tmp_path, database_url=origin), origin, 0, silent)
    with connect(with_database(place, "postgres")) as connection:
        connection.execute("DROP DATABASE IF EXISTS spoilt WITH (FORCE)")
        connection.execute("CREATE DATABASE spoilt")
    with connect(place) as connection:
        connection.execute("CREATE SCHEMA market")
    newest = binaries.client_program("pg_restore", max(INSTALLED))
    with pytest.raises(OpsError, match='schema "market" already exists'):
        backup.load(newest, made.folder / "market", place, oldest)


def _objects(store: Store) -> list[tuple[str, str]]:
    """Everything that has a name: a restore that forgot an index or a constraint would not show in rows."""
    query = """
        SELECT c.relkind::text, c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('market', 'ops', 'research') AND c.relkind <> 't' AND c.relname NOT LIKE 'ohlc%2025_06%'
        UNION ALL
        SELECT 'constraint', conrelid::regclass || '.' || conname FROM pg_constraint
        WHERE connamespace IN ('market'::regnamespace, 'ops'::regnamespace, 'research'::regnamespace)
          AND contype IN ('p', 'u', 'f', 'x', 'c') AND conrelid::regclass::text NOT LIKE '%2025_06%'
        ORDER BY 1, 2
    """
    return store.connections.run(lambda connection: connection.execute(query).fetchall())


def _objects_of(url: str) -> list[tuple[str, str]]:
    with Store(url) as store:
        return _objects(store)
