"""Migrations: each whole or not at all, by several processes at once, on databases of every earlier version.

Guards I7 (docs/invariants.md).
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crypto_pipeline.store.database.connect import connect, database_name, ensure_databases, with_database
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.schema.migrations import applied, migrate, migration_files, sql_folder

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
        connection.execute("INSERT INTO crypto_pipeline_version VALUES ('0042_future')")
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


def test_a_file_that_cannot_run_in_a_transaction_is_refused(missing_url: str, folder: Path) -> None:
    (folder / "0002.second.sql").write_text("CREATE INDEX CONCURRENTLY i ON a (n)")
    with pytest.raises(StoreError, match=r"0002.second failed .*transaction block; nothing of it was applied"):
        migrate(missing_url, folder)


def test_a_name_that_does_not_fit_the_version_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001.a_name_of_more_than_thirty_two_characters.sql").write_text("SELECT 1")
    with pytest.raises(StoreError, match=r"0001\.a_name.* has a name of 46 characters: shorten it to 32"):
        migration_files(tmp_path)


def test_a_killed_migration_leaves_nothing_and_is_done_again(missing_url: str, folder: Path) -> None:
    (folder / "0002.second.sql").write_text("CREATE TABLE b (n int); SELECT pg_advisory_xact_lock(42)")
    ensure_databases(missing_url, [database_name(missing_url)])
    code = (
        "import sys, pathlib; from crypto_pipeline.store import migrate; "
        "migrate(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted"
    with connect(missing_url) as connection:
        connection.execute("SELECT pg_advisory_lock(42)")
        migrating = subprocess.Popen([sys.executable, "-c", code, missing_url, str(folder)])
        while connection.execute(waiting).fetchone() == (0,):
            assert migrating.poll() is None
            time.sleep(0.02)
        migrating.kill()
        migrating.wait()
    assert applied(missing_url) == ["0001.first"]
    assert migrate(missing_url, folder) == ["0002.second"]


_OLDER_TABLE = """
    CREATE TABLE _yoyo_migration (migration_hash varchar(64), migration_id varchar(255), applied_at_utc timestamp,
                                  PRIMARY KEY (migration_hash));
    INSERT INTO _yoyo_migration SELECT md5(version_num), version_num, now() FROM crypto_pipeline_version;
    DROP TABLE crypto_pipeline_version
"""


def test_a_database_with_the_version_table_of_before_is_recognised(missing_url: str, tmp_path: Path) -> None:
    names = list(migration_files(sql_folder()))
    migrate(missing_url)
    with connect(missing_url) as connection:
        connection.execute(_OLDER_TABLE)
    assert migrate(missing_url) == []
    assert applied(missing_url) == names
    for name, path in migration_files(sql_folder()).items():
        (tmp_path / f"{name}.sql").write_text(path.read_text())
    (tmp_path / "0014.between.sql").write_text("CREATE TABLE between_them (n int)")
    (tmp_path / "9000.newest.sql").write_text("CREATE TABLE newest (n int)")
    # also a number that is not the highest: another branch may have been applied first
    assert migrate(missing_url, tmp_path) == ["0014.between", "9000.newest"]
    assert applied(missing_url) == sorted([*names, "0014.between", "9000.newest"])
    assert migrate(missing_url, tmp_path) == []
    with connect(missing_url) as connection:  # what a program of before reads: it says that the database is newer
        rows = connection.execute("SELECT migration_id FROM _yoyo_migration ORDER BY 1").fetchall()
    assert [row[0] for row in rows] == applied(missing_url)


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


def migrations_before(number: str, folder: Path) -> Path:
    """``folder`` with the migrations before ``number``."""
    for file in sql_folder().glob("*.sql"):
        if file.name < number:
            (folder / file.name).write_text(file.read_text())
    return folder


def test_what_a_person_hung_on_the_views_is_there_again(missing_url: str, tmp_path: Path) -> None:
    migrate(missing_url, migrations_before("0020", tmp_path))
    with connect(missing_url) as connection:
        connection.execute("DROP ROLE IF EXISTS analyst")
        connection.execute("CREATE ROLE analyst")
        connection.execute(
            """
            CREATE INDEX by_time ON market.ohlc_today (open_time);
            GRANT SELECT ON market.ohlc_today TO PUBLIC;
            GRANT SELECT (symbol, close) ON market.ohlc_recent TO analyst;
            CREATE SCHEMA mine;
            CREATE VIEW mine.closes WITH (security_barrier=true) AS SELECT symbol, close FROM market.ohlc_today;
            COMMENT ON VIEW mine.closes IS 'my view';
            CREATE MATERIALIZED VIEW mine.highest AS SELECT symbol, max(close) AS close FROM mine.closes GROUP BY 1;
            CREATE UNIQUE INDEX highest_key ON mine.highest (symbol);
            ALTER MATERIALIZED VIEW mine.highest OWNER TO analyst;
            GRANT SELECT ON mine.closes TO analyst WITH GRANT OPTION;
            """
        )
    hung = """
        SELECT pg_get_viewdef('mine.closes'::regclass), pg_get_viewdef('mine.highest'::regclass),
               obj_description('mine.closes'::regclass), pg_get_indexdef('mine.highest_key'::regclass),
               pg_get_indexdef('market.by_time'::regclass), (SELECT relacl FROM pg_class WHERE relname = 'closes'),
               (SELECT reloptions FROM pg_class WHERE relname = 'closes'),
               (SELECT relacl FROM pg_class WHERE oid = 'market.ohlc_today'::regclass),
               (SELECT array_agg((attname, attacl)::text ORDER BY 1) FROM pg_attribute
                WHERE attrelid = 'market.ohlc_recent'::regclass AND attacl IS NOT NULL),
               (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'highest')
    """
    with connect(missing_url) as connection:
        before = connection.execute(hung).fetchone()
        assert migrate(missing_url)[0] == "0020.views_of_the_market"
        assert connection.execute(hung).fetchone() == before
        text = connection.execute("SELECT pg_get_viewdef('market.ohlc_today'::regclass)").fetchone()
        assert text is not None
        assert "market.now()" in text[0]
    with connect(missing_url) as connection:
        connection.execute("DROP OWNED BY analyst")
        connection.execute("DROP ROLE analyst")


def test_what_cannot_be_made_again_is_not_taken_away(missing_url: str, tmp_path: Path) -> None:
    migrate(missing_url, migrations_before("0020", tmp_path))
    with connect(missing_url) as connection:
        connection.execute(
            "CREATE FUNCTION public.newest() RETURNS float8 LANGUAGE sql BEGIN ATOMIC "
            "SELECT max(close) FROM market.ohlc_today; END"
        )
    with pytest.raises(StoreError, match=r"0020.*ohlc_today.*nothing of it"):
        migrate(missing_url)
    assert "0020.views_of_the_market" not in applied(missing_url)
