"""Databases that several tests share, because making one costs more than most of those tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg

from crypto_pipeline.store import DatabaseUrl, Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline_tests.builders.bars import add_symbols, empty_tables

#: Makes a migrated, empty database of a name; the block gets its URL.
NewDatabase = Callable[[str], AbstractContextManager[str]]


@contextmanager
def copied(admin: str, template: str, name: str, *, owner: str | None = None) -> Iterator[None]:
    """A copy of the database ``template`` called ``name`` on the server of ``admin``; dropped after the block."""
    whose = f" OWNER {owner}" if owner is not None else ""
    with connect(admin) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY{whose}")
    yield
    with connect(admin) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def as_argument(url: str) -> str:
    """``url`` as one argument for a program of a test, with the direct URL if there is one."""
    return f"{url} {url.direct}" if isinstance(url, DatabaseUrl) else url


def from_argument(text: str) -> str:
    """The URL that ``as_argument`` wrote."""
    url, _, direct = text.partition(" ")
    return DatabaseUrl(url, direct) if direct else url


def backend(connection: psycopg.Connection[Any]) -> int:
    """Process id of the server's session; a pooler tells its clients another one."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def shared_database(new_database: NewDatabase, name: str) -> Iterator[str]:
    """URL of a migrated database called ``name`` that collects ``bars.SYMBOLS``; dropped after the block."""
    with new_database(name) as url:
        with Store(url) as store:
            add_symbols(store)
        yield url


@contextmanager
def emptied_store(url: str, empty: Callable[[Store], None] = empty_tables) -> Iterator[Store]:
    """A store on ``url`` after ``empty``. Small batches, so that few bars are many transactions."""
    with Store(url, batch_rows=1000) as opened:
        empty(opened)
        yield opened
