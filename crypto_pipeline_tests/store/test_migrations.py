import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crypto_pipeline.store.connecting import connect, with_database
from crypto_pipeline.store.embedded import EmbeddedServer
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.migrations import applied, migrate, migration_files, sql_folder

_MIGRATE = "import sys; from crypto_pipeline.store import migrate; print(len(migrate(sys.argv[1])))"


@pytest.fixture
def missing_url(postgres_server: EmbeddedServer) -> Iterator[str]:
    """URL of a database that does not exist yet."""
    name = 'not yet "there"'
    yield postgres_server.url(name)
    with connect(postgres_server.url("postgres")) as connection:
        connection.execute('DROP DATABASE IF EXISTS "not yet ""there""" WITH (FORCE)')


def test_first_commands_may_race(missing_url: str) -> None:
    known = migration_files(sql_folder())
    racers = [
        subprocess.Popen([sys.executable, "-c", _MIGRATE, missing_url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    counts = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sorted(counts) == [0, 0, 0, len(known)]
    assert applied(missing_url) == list(known)


def test_nothing_to_do_is_cheap(postgres_url: str) -> None:
    migrate(postgres_url)
    took = []
    for _ in range(9):
        began = time.perf_counter()
        assert migrate(postgres_url) == []
        took.append(time.perf_counter() - began)
    assert sorted(took)[4] < 0.05  # 7 ms on a quiet machine


def test_a_newer_schema_is_refused(postgres_url: str) -> None:
    with connect(postgres_url) as connection:
        connection.execute("INSERT INTO _yoyo_migration VALUES ('x', '0042_future', now())")
    with pytest.raises(
        StoreError, match="has schema 0042_future, newer than this version knows: upgrade crypto-pipeline"
    ):
        migrate(postgres_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001.first.sql").write_text(
        "CREATE TABLE a (n int); CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\n"
        "DECLARE x int; BEGIN x := 1; -- with; semicolons\n RETURN x; END $$; SELECT '100%' AS shown;"
    )
    (tmp_path / "0002.second.sql").write_text("CREATE TABLE b (n int); INSERT INTO b VALUES (f()); SELECT 1 / 0;")
    return tmp_path


def test_a_file_applies_whole_or_not_at_all(missing_url: str, folder: Path) -> None:
    with pytest.raises(StoreError, match=r"migration 0002.second failed .*division by zero; nothing of it"):
        migrate(missing_url, folder)
    assert applied(missing_url) == ["0001.first"]
    with connect(missing_url) as connection:
        assert connection.execute("SELECT to_regclass('b')").fetchone() == (None,)
    (folder / "0002.second.sql").write_text("CREATE TABLE b (n int)")
    migration_files.cache_clear()
    assert migrate(missing_url, folder) == ["0002.second"]


def test_a_user_without_rights_is_told_what_to_do(
    missing_url: str, folder: Path, postgres_server: EmbeddedServer
) -> None:
    (folder / "0002.second.sql").unlink()
    with connect(postgres_server.url("postgres")) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        connection.execute('CREATE DATABASE "not yet ""there"""')
    parts = psycopg.conninfo.conninfo_to_dict(missing_url)
    url = f"postgresql://guest:guest@{parts['host']}:{parts['port']}/not%20yet%20%22there%22"
    with pytest.raises(StoreError, match=r"may not apply migration .*ALTER DATABASE"):
        migrate(url, folder)
    with pytest.raises(StoreError, match=r"'other' does not exist .* may not create it: .*CREATE DATABASE"):
        migrate(with_database(url, "other"), folder)
