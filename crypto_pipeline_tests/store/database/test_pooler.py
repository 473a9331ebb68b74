"""pgbouncer in transaction mode between this program and PostgreSQL, for a role that owns one database."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

import crypto_pipeline
from crypto_pipeline import Reader
from crypto_pipeline.market import Timeframe
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import DatabaseUrl, EmbeddedServer, Store, StoreError, dagster_url, migrate, resolve_url
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.coordination.notifications import CHANNEL, BarNotifications
from crypto_pipeline.store.database.connect import check_direct_url, connect
from crypto_pipeline.store.database.errors import QueryTooLongError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.fingerprints import frozen
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.builders import pgbouncer
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series, stored
from crypto_pipeline_tests.builders.databases import copied
from crypto_pipeline_tests.builders.pgbouncer import PgBouncer
from crypto_pipeline_tests.store.archive import test_archive

pytestmark = pytest.mark.skipif(pgbouncer.PROGRAM is None, reason=pgbouncer.ABSENT)

#: They set something for a session of the server itself: a snapshot for a backup, and Dagster's database.
_SESSIONS_OF_THE_SERVER = {"fingerprints.py", "dagster.py", "evaluation.py"}
DIRECT = "CRYPTO_PIPELINE_DATABASE_DIRECT_URL"


@pytest.fixture(scope="module")
def url(postgres_server: EmbeddedServer, pooler: PgBouncer) -> Iterator[DatabaseUrl]:
    """A migrated database of the role, whose sessions are in another time zone than ours."""
    name = f"pooled_{os.getpid()}"
    admin = postgres_server.url("postgres")
    with copied(admin, "template0", name, owner=pgbouncer.ROLE):
        with connect(admin) as connection:
            connection.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Kolkata'")
        made = pooler.url(name)
        migrate(made)
        with Store(made) as store:
            add_symbols(store)
        yield made


@pytest.fixture
def store(url: DatabaseUrl) -> Iterator[Store]:
    with Store(url, batch_rows=500) as opened:
        yield opened


@pytest.fixture
def alone(url: DatabaseUrl) -> str:
    """The pooler's URL without the direct one."""
    return str(url)


def test_a_pooler_without_a_direct_url_is_an_error_that_names_the_setting(alone: str) -> None:
    def transaction(connections: Connections) -> None:
        connections.run(lambda connection: None)

    def row(connections: Connections) -> None:
        connections.row("SELECT 1")

    def frame(connections: Connections) -> None:
        connections.frame("SELECT 1")

    for use in (transaction, row, frame):
        with closing(Connections(alone)) as connections, pytest.raises(StoreError, match=DIRECT):
            use(connections)
    with pytest.raises(StoreError, match=DIRECT):
        resolve_url(load_settings(database_url=alone))
    with Reader(alone) as reader, pytest.raises(StoreError, match=DIRECT):
        reader.symbols()


def test_a_pooler_that_swallows_startup_options_is_noticed_too(postgres_server: EmbeddedServer, alone: str) -> None:
    name = alone.rpartition("/")[2]
    with tempfile.TemporaryDirectory(prefix="cp-bouncer-") as folder:
        options = ["ignore_startup_parameters = options"]
        with pgbouncer.running(Path(folder), postgres_server.url("postgres"), more=options) as lenient:
            for use in ("rows", "frame"):
                with closing(Connections(lenient.alone(name))) as connections, pytest.raises(StoreError, match=DIRECT):
                    getattr(connections, use)("SELECT 1")


def test_the_two_urls_must_lead_to_the_same_database(
    postgres_server: EmbeddedServer, pooler: PgBouncer, url: DatabaseUrl
) -> None:
    check_direct_url(url)
    with copied(postgres_server.url("postgres"), "template0", f"other_{os.getpid()}", owner=pgbouncer.ROLE):
        other = pooler.url(f"other_{os.getpid()}")
        with pytest.raises(StoreError, match=f"another database than {DIRECT}"):
            check_direct_url(DatabaseUrl(str(url), other.direct))
    with pytest.raises(StoreError, match=f"{DIRECT} leads to a pooler"):
        check_direct_url(DatabaseUrl(str(url), str(url)))


def test_a_direct_url_needs_a_url_of_the_pooler() -> None:
    with pytest.raises(SettingsError, match="database_url"):
        load_settings(database_direct_url="postgresql://u@h/d")


def test_the_settings_give_both_urls_and_dagster_gets_the_direct_one(url: DatabaseUrl) -> None:
    settings = load_settings(database_url=str(url), database_direct_url=url.direct)
    found = resolve_url(settings)
    assert isinstance(found, DatabaseUrl)
    assert (found, found.direct) == (url, url.direct)
    assert dagster_url(settings, found).split("@")[1] == f"{url.direct.split('@')[1]}_dagster"
    assert url.direct not in repr(settings)


def test_every_way_to_the_database_has_our_settings(url: DatabaseUrl) -> None:
    names = ("TimeZone", "jit", "statement_timeout")
    asked = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    ours = ("UTC", "off", "7s")
    with closing(Connections(url, statement_timeout=7)) as connections:
        for _ in range(3):
            assert connections.run(lambda c: c.execute(asked).fetchone()) == ours
            assert connections.run_core(lambda c: tuple(c.execute(sqlalchemy.text(asked)).one())) == ours
            assert connections.rows(asked) == [ours]
            assert connections.frame(asked).row(0) == ours
            assert connections.run_in_session(lambda c: c.execute(asked).fetchone()) == ours
        moment = connections.row("SELECT timestamptz '2024-05-01 20:00+00'")[0]
        assert (moment.hour, moment.utcoffset()) == (20, timedelta(0))
        with connect(url) as pooled, connect(url.direct) as fresh:  # nothing of it stays in the sessions of the server
            others = fresh.execute(asked).fetchone()
            assert pooled.execute(asked).fetchone() == others
            assert others is not None
            assert (others[0], others[2]) == ("Asia/Kolkata", "2min")


def test_a_statement_that_takes_too_long_is_cancelled_and_the_next_one_works(url: DatabaseUrl) -> None:
    with closing(Connections(url, statement_timeout=0.2)) as connections:
        for slow in (connections.rows, connections.frame):
            with pytest.raises(QueryTooLongError):
                slow("SELECT pg_sleep(5)")
            assert list(connections.rows("SELECT 7")) == [(7,)]


def test_a_statement_for_many_rows_begins_with_our_settings_too(url: DatabaseUrl) -> None:
    """psycopg sends it in a pipeline, in which a message has one statement."""

    def many(connection: psycopg.Connection) -> list[tuple[str, int]]:
        with connection.cursor() as cursor:
            insert = "INSERT INTO many SELECT current_setting('TimeZone'), %s"
            cursor.executemany(insert, [[n] for n in range(20)])
            return cursor.execute("SELECT zone, sum(n) FROM many GROUP BY 1").fetchall()

    with closing(Connections(url)) as connections:
        connections.run(lambda c: c.execute("CREATE TABLE many (zone text, n int)") and None)
        assert connections.run(many) == [("UTC", 190)]
        connections.run(lambda c: c.execute("DROP TABLE many") and None)


def test_idle_streams_leave_the_sessions_of_the_server_to_others(url: DatabaseUrl) -> None:
    with closing(Connections(url, size=12, patience=5)) as connections:
        with ExitStack() as stack:  # twice as many as the pooler has, at once
            for stream in [stack.enter_context(connections.adbc()) for _ in range(4)]:
                stream.cursor().execute("SELECT 1")
        with ThreadPoolExecutor(30) as threads:
            found = threads.map(lambda n: connections.frame("SELECT $1::int AS n", [n])["n"][0], range(60))
            assert sorted(found) == list(range(60))
        assert connections.run(lambda c: c.execute("SELECT 7").fetchone()) == (7,)


def test_writers_through_a_pool_of_five_leave_nothing_in_the_sessions(store: Store, url: DatabaseUrl) -> None:
    start = datetime(2025, 3, 3, tzinfo=UTC)

    def write(number: int) -> None:
        for seed in range(3):  # the second and third replace rows
            frame = series([SYMBOLS[number % len(SYMBOLS)]], 300, start, seed=seed, revised=timedelta(days=seed))
            store.bars.write(frame, Timeframe.M1)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(write, range(12)))
    assert miscounted(store) == []
    assert stored(store, Timeframe.M1).height == 300 * len(SYMBOLS)
    with connect(url.direct) as connection:
        kept = connection.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'").fetchall()
    assert kept == []
    for _ in range(10):
        assert store.connections.rows("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
        assert store.connections.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_what_needs_a_session_works_beside_the_pooler(store: Store, url: DatabaseUrl, tmp_path: Path) -> None:
    for view in VIEWS:
        assert store.views.refresh(view).method == "swap"
        assert store.views.differences(view).is_empty()
    with frozen(url) as moment:
        assert "market.instruments" in moment.fingerprints()
    archive = ArchiveStorage(str(tmp_path / "archive"))
    retention = Retention(store.connections, archive, tmp_path / "scratch", test_archive.policy(min_bars=10))
    with retention.exclusive(), pytest.raises(StoreError, match="another retention run"):
        Retention(store.connections, archive, tmp_path / "other", test_archive.policy(min_bars=10)).run()
    retention.run(test_archive.NOW)
    assert miscounted(store) == []


def test_changes_are_heard_beside_the_pooler(store: Store, url: DatabaseUrl) -> None:
    notifications = BarNotifications(url)
    changed = threading.Event()
    notifications.pass_on(CHANNEL, lambda told: changed.set() if told is not None else None)
    notifications.start()
    try:
        assert notifications.await_proof(10)
        store.bars.write(series(SYMBOLS, 5, datetime(2025, 8, 1, tzinfo=UTC)), Timeframe.M1)
        assert changed.wait(10)
    finally:
        notifications.close()


def test_a_pickle_has_both_urls_and_no_password(url: DatabaseUrl) -> None:
    with Reader(str(url), direct_url=url.direct) as reader:
        text = pickle.dumps(reader)
        assert pgbouncer.PASSWORD.encode() not in text
        with pickle.loads(text) as copy:
            assert copy.store.connections.url.direct == url.direct
            assert copy.symbols() == reader.symbols()


def test_a_restarted_pooler_and_ended_sessions_are_outlived(postgres_server: EmbeddedServer, url: DatabaseUrl) -> None:
    with closing(Connections(url, patience=20)) as connections:
        assert connections.row("SELECT 1") == (1,)
        connections.run(lambda c: None)
        connections.frame("SELECT 1")
        name = url.rpartition("/")[2]
        with connect(postgres_server.url("postgres")) as admin:
            admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
        assert connections.row("SELECT 7") == (7,)
        assert connections.frame("SELECT 7 AS n")["n"].to_list() == [7]
        assert connections.run(lambda c: c.execute("SELECT 7").fetchone()) == (7,)


def test_no_statement_of_ours_keeps_a_temporary_table_or_a_setting() -> None:
    """The tests above exercise some of them; this finds one that is written tomorrow."""
    package = Path(crypto_pipeline.__file__).parent
    wrong = []
    for path in package.rglob("*.py"):
        text = path.read_text()
        for found in re.finditer(r"CREATE TEMP(?:ORARY)? TABLE.*?(?=ON COMMIT|\Z|;)(ON COMMIT \{*\w+)?", text, re.S):
            if found.group(1) is None or found.group(1).split()[-1].strip("{") not in ("DROP", "end"):
                wrong.append(f"{path.name}: {found.group(0)[:60]}")
        for found in re.finditer(r'execute\(f?"SET (?!LOCAL|TRANSACTION)[^"]*', text):
            if path.name not in _SESSIONS_OF_THE_SERVER:
                wrong.append(f"{path.name}: {found.group(0)}")
    assert wrong == []
