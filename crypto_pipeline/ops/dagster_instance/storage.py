"""Dagster's storage in PostgreSQL over connections that stay open, shared by all storages and instances of a process.

Dagster opens a new connection for every statement on runs, schedules and ticks, and asks before most of them whether
its schema has a certain table, column or index. Its daemon and the code server send dozens of statements a second while
nothing happens, and a connection costs more processor time than a statement.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import sqlalchemy
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    set_pg_statement_timeout,
)

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

#: How an engine is made where no program says otherwise: two connections stay open at most. Threads that work at the
#: same time get more, which are closed afterwards. One that a restart of PostgreSQL ended is replaced before use.
_ENGINE = {
    "isolation_level": "AUTOCOMMIT",
    "pool_size": 2,
    "pool_use_lifo": True,
    "max_overflow": -1,
    "pool_pre_ping": True,
}


@dataclass(eq=False)
class SharedEngine:
    """An engine, and what was seen with it: classes of storages that have their tables, parts of the schema."""

    engine: sqlalchemy.Engine
    with_tables: set[type] = field(default_factory=set)
    seen: set[tuple[str, ...]] = field(default_factory=set)


_lock = threading.Lock()
#: Engines that storages use, by process (a forked child needs its own), URL, token provider and options.
_in_use: WeakValueDictionary[tuple[Any, ...], SharedEngine] = WeakValueDictionary()
#: Engines that stay although no storage uses them; None: those of this process do not.
_kept: list[SharedEngine] | None = None


def keep_engines() -> None:
    """Let the connections of this process outlive its instances of Dagster.

    The code server makes an instance for every tick of a sensor or schedule, and would connect again for each.
    """
    global _kept
    _kept = []


def shared_engine(
    url: str, token_provider: PgTokenProvider | None, timeout: int | None = None, **options: Any
) -> SharedEngine:
    """The engine of this process for ``url``, with ``options`` of SQLAlchemy. ``timeout``: of a statement, in ms."""
    key = (os.getpid(), url, type(token_provider), timeout, *sorted(options.items()))
    with _lock:
        shared = _in_use.get(key)
        if shared is None:
            engine = create_pg_engine(url, token_provider, **(_ENGINE | options))
            if timeout is not None:
                sqlalchemy.event.listen(
                    engine, "connect", lambda connection, _: set_pg_statement_timeout(connection, timeout)
                )
            shared = _in_use[key] = SharedEngine(engine)
            if _kept is not None:
                _kept.append(shared)
        return shared


class _Kept:
    """What the three storages have in common."""

    _engine: sqlalchemy.Engine
    _token_provider: PgTokenProvider | None
    postgres_url: str

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        self._shared = shared = shared_engine(postgres_url, token_provider)
        # Dagster looks over a connection of its own whether there are tables: once per process is enough.
        looks = should_autocreate_tables and type(self) not in shared.with_tables
        super().__init__(postgres_url, looks, inst_data, token_provider)  # type: ignore[call-arg]  # Dagster's class
        self._engine.dispose()
        self._engine = shared.engine
        self.should_autocreate_tables = should_autocreate_tables
        shared.with_tables.add(type(self))

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Bound the statements of this process to ``statement_timeout`` ms, as Dagster's class does."""
        self._shared = shared_engine(
            self.postgres_url,
            self._token_provider,
            statement_timeout,
            pool_recycle=pool_recycle,
            max_overflow=max_overflow,
        )
        self._engine = self._shared.engine

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the storage from the instance's configuration, as Dagster's class does."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


def _lasting(method: Callable[..., bool]) -> Callable[..., bool]:
    """``method``, which asks whether the schema has something, asked no more once it has: only a migration changes it,
    and programs are started after one.
    """

    @wraps(method)
    def has(self: _Kept, *arguments: Any) -> bool:
        asked = (method.__qualname__, *(each for each in arguments if isinstance(each, str)))
        if asked in self._shared.seen:
            return True
        answer = method(self, *arguments)
        if answer:
            self._shared.seen.add(asked)
        return answer

    return has


class KeptConnectionRunStorage(_Kept, PostgresRunStorage):
    """Dagster's runs over the kept connection."""

    has_built_index = _lasting(PostgresRunStorage.has_built_index)
    has_run_stats_index_cols = _lasting(PostgresRunStorage.has_run_stats_index_cols)
    has_bulk_actions_selector_cols = _lasting(PostgresRunStorage.has_bulk_actions_selector_cols)
    has_backfill_id_column = _lasting(PostgresRunStorage.has_backfill_id_column)
    has_bulk_action_job_name_column = _lasting(PostgresRunStorage.has_bulk_action_job_name_column)
    has_backfill_tags_table = _lasting(PostgresRunStorage.has_backfill_tags_table)


class KeptConnectionEventLogStorage(_Kept, PostgresEventLogStorage):
    """Dagster's event log over the kept connection."""

    has_table = _lasting(PostgresEventLogStorage.has_table)
    has_asset_key_col = _lasting(PostgresEventLogStorage.has_asset_key_col)
    _has_asset_key_col_on_connection = _lasting(PostgresEventLogStorage._has_asset_key_col_on_connection)
    has_secondary_index = _lasting(PostgresEventLogStorage.has_secondary_index)


class KeptConnectionScheduleStorage(_Kept, PostgresScheduleStorage):
    """Dagster's schedules, sensors and ticks over the kept connection."""

    has_instigators_table = _lasting(PostgresScheduleStorage.has_instigators_table)
    has_secondary_index_table = _lasting(PostgresScheduleStorage.has_secondary_index_table)
    has_built_index = _lasting(PostgresScheduleStorage.has_built_index)
    _has_instigators_table = _lasting(PostgresScheduleStorage._has_instigators_table)
    _has_asset_daemon_asset_evaluations_table = _lasting(
        PostgresScheduleStorage._has_asset_daemon_asset_evaluations_table
    )
