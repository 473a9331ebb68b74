"""A process that opens a store again and again keeps its connections where it says so."""

from __future__ import annotations

import pytest

from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import DatabaseUrl, Store, process_store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.deployment import await_, crowding

_SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.fixture
def settings(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setattr(process_store, "_kept", process_store._Kept())
    return load_settings()


def sessions(url: str) -> set[int]:
    with connect(url) as connection:
        return {pid for (pid,) in connection.execute(_SESSIONS)}


def await_no_session(url: str) -> None:
    """The server ends the session of a connection a moment after its client closed it."""
    await_(lambda: not sessions(url), 10 * crowding())


def used(settings: Settings) -> Store:
    with process_store.open_store(settings) as store:
        store.clock.now()
        store.checks.open_alerts()
        store.checks.resolve_alert("nothing")
    return store


def test_connections_stay_only_where_a_process_says_so(postgres_url: str, settings: Settings) -> None:
    if isinstance(postgres_url, DatabaseUrl):
        pytest.skip("behind a pooler the sessions that the test counts are the pooler's")
    used(settings)
    await_no_session(postgres_url)
    process_store.keep_connections()
    used(settings)
    kept = sessions(postgres_url)
    assert kept
    store = used(settings)
    assert sessions(postgres_url) == kept
    assert store.clock.now()  # closing it left them open

    assert process_store._kept.connections is not None
    process_store._kept.connections.close()


def test_another_database_gets_connections_of_its_own(
    postgres_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_store.keep_connections()
    used(settings)
    other = f"{postgres_url.rpartition('/')[0]}/postgres"
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", other)
    assert process_store.open_store(load_settings()).url == other
    await_no_session(postgres_url)
