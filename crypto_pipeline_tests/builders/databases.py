"""Databases that several tests share, because making one costs more than most of those tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.bars import add_symbols, empty_tables


@contextmanager
def shared_database(server: EmbeddedServer, template: str, name: str) -> Iterator[str]:
    """URL of a migrated database called ``name`` that collects ``bars.SYMBOLS``; dropped after the block."""
    admin = server.url("postgres")
    with connect(admin) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    with Store(server.url(name)) as store:
        add_symbols(store)
    yield server.url(name)
    with connect(admin) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def emptied_store(url: str, empty: Callable[[Store], None] = empty_tables) -> Iterator[Store]:
    """A store on ``url`` after ``empty``. Small batches, so that few bars are many transactions."""
    with Store(url, batch_rows=1000) as opened:
        empty(opened)
        yield opened
