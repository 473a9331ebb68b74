"""Which database is ours, and what is said where none can be reached."""

import socket
import time
from pathlib import Path

import pytest

from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database.connect import (
    address,
    connect,
    database_name,
    ensure_databases,
    redact,
    with_database,
)
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database_url import dagster_url, resolve_url
from crypto_pipeline.store.embedded.server import EmbeddedServer


def _settings(**given: object) -> Settings:
    return Settings(**given)  # type: ignore[arg-type]


def test_passwords_do_not_print() -> None:
    assert redact("postgresql://me:s3cret@db:5433/x?sslmode=require") == "postgresql://me:***@db:5433/x?sslmode=require"
    assert redact("postgresql://me:p%40ss@db/x") == "postgresql://me:***@db/x"
    assert redact("postgresql://db/x") == "postgresql://db/x"


def test_parts_of_a_url() -> None:
    url = "postgresql://me:pw@db/old?sslmode=require"
    assert with_database(url, "a b") == "postgresql://me:pw@db/a%20b?sslmode=require"
    assert database_name(with_database(url, "a b")) == "a b"
    assert database_name("postgresql://me@db") == "me"
    assert address(url) == "db:5432"


def test_dagster_lives_in_a_database_of_its_own() -> None:
    plain = _settings()
    assert dagster_url(plain, "postgresql://u:p@h:1/crypto_pipeline") == "postgresql+psycopg2://u:p@h:1/dagster"
    assert dagster_url(plain, "postgres://u:p@h:1/mine?a=b") == "postgresql+psycopg2://u:p@h:1/mine_dagster?a=b"
    given = _settings(dagster_database_url="postgresql://x@y/z")
    assert dagster_url(given, "postgresql://u:p@h:1/mine") == "postgresql+psycopg2://x@y/z"


def test_without_a_running_server_the_fix_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"no database is running in .*crypto-pipeline up.*CRYPTO_PIPELINE_DATABASE_URL"
    ):
        resolve_url(_settings(data_dir=tmp_path))


def test_the_running_embedded_server_is_found(postgres_server: EmbeddedServer) -> None:
    assert resolve_url(_settings(data_dir=postgres_server.data_dir)) == postgres_server.url()


def test_a_given_server_wins_and_its_database_may_be_missing(postgres_server: EmbeddedServer, tmp_path: Path) -> None:
    url = postgres_server.url("not_there_yet")
    assert resolve_url(_settings(data_dir=tmp_path, database_url=url)) == url
    with pytest.raises(StoreError, match="'not_there_yet' does not exist"):
        connect(url)


def test_a_wrong_password_is_not_repeated_in_the_message(postgres_server: EmbeddedServer) -> None:
    right = postgres_server.url()
    wrong = right.replace(right.split(":")[2].split("@")[0], "hunter2")
    with pytest.raises(StoreError, match="authentication failed") as error:
        resolve_url(_settings(database_url=wrong))
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(StoreError, match=f"cannot reach PostgreSQL at 127.0.0.1:{port}"):
            resolve_url(_settings(database_url=f"postgresql://u@127.0.0.1:{port}/x"))
        assert time.monotonic() - began < 7


def test_a_bad_url_is_one_clear_line() -> None:
    with pytest.raises(StoreError, match="cannot read database URL") as error:
        resolve_url(_settings(database_url="postgresql://u:secret@h/x?nonsense=1"))
    assert "secret" not in str(error.value)


def test_an_old_server_is_refused(postgres_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_pipeline.store.database.connect.MINIMUM_VERSION", 99)
    with pytest.raises(StoreError, match="version 99 or newer is needed"):
        resolve_url(_settings(database_url=postgres_server.url()))


def test_databases_are_made_once(postgres_server: EmbeddedServer) -> None:
    names = ["made_once", "made_twice"]
    ensure_databases(postgres_server.url(), names)
    ensure_databases(postgres_server.url(), names)
    for name in names:
        connect(postgres_server.url(name)).close()
