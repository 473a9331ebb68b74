"""A ClickHouse server, or the chdb engine in this process: one client of clickhouse-connect for both."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import polars as pl

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Name of the database unless the address names another.
DATABASE = "crypto_pipeline"
#: Answered by every server; a cluster also answers from all shards only when their replicas have what was written.
_SETTINGS = {"distributed_foreground_insert": 1}
#: Arrow as Polars wants it: plain strings.
_ARROW = {"output_format_arrow_low_cardinality_as_dictionary": 0, "output_format_arrow_string_as_string": 1}
#: Seconds for which an engine of chdb is waited for: one process at a time may have its folder open.
PATIENCE = 60.0
_TAKEN = "Cannot lock file"


class MirrorEngineError(StoreError):
    """ClickHouse refused a statement, or cannot be reached."""


@dataclass(frozen=True, slots=True)
class MirrorAddress:
    """Where the mirror is: a folder of chdb, or a server. ``shown`` has neither user nor password."""

    shown: str
    database: str
    arguments: Mapping[str, Any]

    @classmethod
    def parse(cls, url: str) -> Self:
        """From ``chdb:///folder`` or ``clickhouse://user:password@host:8123/database`` (also http and https).

        Raises ValueError for another address.
        """
        parts = urlsplit(url)
        if parts.scheme == "chdb":
            if not parts.path.strip("/"):
                raise ValueError("name a folder: chdb:///var/lib/crypto_pipeline/clickhouse")
            return cls(f"chdb://{parts.path}", DATABASE, {"interface": "chdb", "path": parts.path})
        if parts.scheme not in ("clickhouse", "clickhouses", "http", "https") or not parts.hostname:
            raise ValueError("use chdb:///folder or clickhouse://user:password@host:8123/database")
        secure = parts.scheme in ("https", "clickhouses")
        port = parts.port or (8443 if secure else 8123)
        database = parts.path.strip("/") or DATABASE
        if not database.isidentifier():
            raise ValueError(f"{database!r} is no name of a database: use letters, digits and _")
        arguments = {
            "host": parts.hostname,
            "port": port,
            "interface": "https" if secure else "http",
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
        }
        return cls(f"{parts.scheme}://{parts.hostname}:{port}/{database}", database, arguments)


class MirrorEngine:
    """Runs statements. Close it, or use ``with``: chdb lets no other process open its folder until then.

    Raises MirrorEngineError if the address does not answer, clickhouse-connect is missing, or, after ``patience``
    seconds, another process has the folder open; NeedsPolarsError in a forked process without Polars' threads.
    """

    def __init__(self, address: MirrorAddress, patience: float = PATIENCE) -> None:
        fork_safety.require_polars("the ClickHouse mirror")
        self.address = address
        self._client = _connect(address, patience)

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement without an answer. Statements name tables as ``crypto_pipeline.bars``."""
        with _explained(self.address):
            self._client.command(self.named(statement), parameters=dict(parameters or {}))

    def frame(self, query: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """The rows of a query; ``parameters`` are those of ClickHouse, as ``{name:Int32}``."""
        with _explained(self.address):
            table = self._client.query_arrow(self.named(query), parameters=dict(parameters or {}), settings=_ARROW)
        answer = pl.from_arrow(table)
        assert isinstance(answer, pl.DataFrame)
        return answer

    def insert(self, table: str, rows: pl.DataFrame) -> None:
        """Append ``rows``, whose columns bear the names of the table's, to a table of the mirror."""
        if rows.height:
            with _explained(self.address):
                self._client.insert_arrow(f"{self.address.database}.{table}", rows.to_arrow(), settings=_SETTINGS)

    def named(self, statement: str) -> str:
        """The statement with the name of this mirror's database."""
        if self.address.database == DATABASE:
            return statement
        named = statement.replace(f"{DATABASE}.", f"{self.address.database}.")
        return named.replace(f"EXISTS {DATABASE} ", f"EXISTS {self.address.database} ")

    def close(self) -> None:
        """Close connection or engine."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(address: MirrorAddress, patience: float) -> Client:
    try:
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import ClickHouseError
    except ImportError:
        raise MirrorEngineError(
            "the ClickHouse mirror needs an extra: pip install 'crypto-pipeline[clickhouse]'"
        ) from None
    until = time.monotonic() + patience
    while True:
        try:
            return clickhouse_connect.get_client(**address.arguments)
        except (ClickHouseError, OSError, ImportError) as error:
            if _TAKEN not in str(error) or time.monotonic() > until:
                raise _failed(address, error) from None
        time.sleep(0.5)


class _explained:  # noqa: N801  (used as a word)
    """Turns errors of the driver in the block into MirrorEngineError."""

    def __init__(self, address: MirrorAddress) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from clickhouse_connect.driver.exceptions import ClickHouseError

        if isinstance(error, ClickHouseError | OSError):
            raise _failed(self._address, error) from None


def _failed(address: MirrorAddress, error: BaseException) -> MirrorEngineError:
    said = " ".join(str(error).split())
    return MirrorEngineError(f"ClickHouse at {address.shown}: {said[:500]}")
