"""Labels: the tables research.strategy_*_labels with their history, and their cells (instrument and day).

A day's labels of an instrument are written in one transaction, together with the data versions from which they were
computed. A row that changes or disappears is moved to the revisions with the span in which it was current, so that
``as_of`` reads are repeatable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import copy_rows, named, numbered, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import PATIENCE, Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary
from crypto_pipeline.store.research import labels_sql as statements
from crypto_pipeline.store.research.label_columns import LabelTable

#: Schema of ``cells``.
CELL_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "day": pl.Date(),
    "setups": pl.Int32(),
    "labels": pl.Int32(),
    "waiting": pl.Int32(),
    "waits_until": pl.Datetime("ms", "UTC"),
    "inputs": pl.String(),
    "minute_days": pl.List(pl.Date()),
    "minute_versions": pl.String(),
    "label_version": pl.Int64(),
    "computed_at": pl.Datetime("us", "UTC"),
}
#: Schema of the cells that ``write`` takes, one row per instrument and day.
_CELL_COLUMNS = ("instrument", "day", "setups", "labels", "waiting", "waits_until", "inputs", "minute_days")


@dataclass(slots=True)
class LabelsWritten:
    """Labels of some cells, by what a write did with them.

    Attributes:
        inserted: There was none of their signal.
        superseded: They replaced another one of their signal.
        withdrawn: Stored ones whose signal is no longer there.
        unchanged: They were stored already.
    """

    inserted: int = 0
    superseded: int = 0
    withdrawn: int = 0
    unchanged: int = 0

    def add(self, other: LabelsWritten) -> None:
        """Add the counts of another write."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def changed(self) -> int:
        """Number of changed rows."""
        return self.inserted + self.superseded + self.withdrawn


class Labels:
    """Reads and writes labels. Thread-safe; every write is one transaction that may be repeated."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def declare(self, params_hash: str, strategy: str, parameters: Mapping[str, Any]) -> None:
        """Store the parameters of a hash, before labels with it are written."""
        values = [params_hash, strategy, json.dumps(parameters, sort_keys=True)]
        self._connections.run(lambda connection: connection.execute(statements.DECLARE, values) and None)

    def parameters(self, params_hash: str) -> dict[str, Any]:
        """The parameters of a hash. Raises StoreError for an unknown hash."""
        row = self._connections.run(
            lambda connection: connection.execute(
                "SELECT parameters FROM research.label_parameters WHERE params_hash = %s", [params_hash]
            ).fetchone()
        )
        if row is None:
            raise StoreError(f"no labels were ever made with the parameters {params_hash!r}")
        return dict(row[0])

    def write(self, table: LabelTable, params_hash: str, cells: pl.DataFrame, labels: pl.DataFrame) -> LabelsWritten:
        """Replace the labels of ``cells`` by ``labels``; all other stored labels of these cells are removed.

        ``cells`` has ``instrument``, ``day`` (UTC date of the signals), ``setups``, ``labels``, ``waiting``,
        ``waits_until``, ``inputs``, ``minute_days`` and ``minute_versions``; ``labels`` has ``instrument``,
        ``data_version`` and the columns of ``table.schema``. Values that differ by rounding only (1e-9 of their size)
        are not a change. Raises StoreError for a label outside of the cells.
        """
        require_columns(cells, [*_CELL_COLUMNS, "minute_versions"], "a frame of label cells")
        require_columns(labels, ["instrument", "data_version", *table.schema], "a frame of labels")
        if cells.is_empty():
            return LabelsWritten()
        days = labels.select("instrument", pl.col("signal_ts").dt.date().alias("day")).unique()
        if (outside := days.join(cells, on=["instrument", "day"], how="anti")).height:
            instrument, day = outside.row(0)
            raise StoreError(f"a label of {instrument} on {day} is in none of the cells that are written")
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        numbers = numbered(cells.select(*_CELL_COLUMNS, "minute_versions"), ids).sort("instrument_id", "day")
        rows = numbered(labels.select("instrument", "data_version", *table.schema), ids)
        return self._connections.run(_write, table, params_hash, numbers, rows)

    def read(
        self,
        table: LabelTable,
        params_hash: str,
        start: datetime,
        end: datetime,
        *,
        instruments: Sequence[str] | None = None,
        as_of: datetime | None = None,
    ) -> pl.DataFrame:
        """Labels of signals in ``[start, end)``, sorted by signal and instrument, in ``table.stored_schema``.

        ``as_of`` returns the labels stored at that time, and the same for each later call, because it waits for writing
        transactions. Raises StoreError for an unknown instrument or an ``as_of`` in the future.
        """
        ids = self._ids(instruments)
        parameters: list[Any] = [params_hash, require_utc(start), require_utc(end), list(ids.values())]
        query = statements.read(table, as_of=as_of is not None)
        if as_of is not None:
            self.settle(as_of)
            parameters.append(require_utc(as_of))
        answer = named(self._connections.frame(query, parameters), ids)
        columns = [pl.col(name).cast(dtype) for name, dtype in table.stored_schema.items()]
        return answer.select(columns).sort("signal_ts", "instrument")

    def settle(self, as_of: datetime | None = None) -> datetime:
        """A time (``as_of``, or now; UTC) up to which no table can change any more.

        Waits for writing transactions that began before it. Raises StoreError if it is in the future, or if one of
        these transactions takes longer than a minute.
        """
        now = self._connections.run(_clock)
        moment = now if as_of is None else require_utc(as_of)
        if moment > now:
            raise StoreError(f"as_of {moment.isoformat()} is in the future: it is {now:%Y-%m-%dT%H:%M:%SZ}")
        deadline = time.monotonic() + PATIENCE
        while writers := self._connections.run(_writing_since, moment):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"process {writers[0]} of PostgreSQL has been writing since before {moment.isoformat()}: "
                    "wait for it to end, or give an earlier as_of"
                )
            time.sleep(0.02)
        return moment

    def cells(
        self,
        strategy: str,
        params_hash: str,
        start: datetime,
        end: datetime,
        instruments: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The cells of the days that overlap ``[start, end)``, in CELL_SCHEMA, by instrument and day."""
        ids = self._ids(instruments)
        first, last = _days(start, end)
        answer = self._connections.frame(statements.CELLS, [strategy, params_hash, first, last, list(ids.values())])
        columns = [pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items()]
        return named(answer, ids).select(columns).sort("instrument", "day")

    def version(self, strategy: str, hashes: Sequence[str], start: datetime, end: datetime) -> str:
        """A text that differs after any change of labels with signals on the days of ``[start, end)``."""
        first, last = _days(start, end)
        answer = self._connections.frame(statements.VERSION, [strategy, list(hashes), first, last])
        cells, version = answer.row(0)
        return f"{cells}.{version}"

    def _ids(self, instruments: Sequence[str] | None) -> dict[str, int]:
        if instruments is not None:
            return self._symbols.ids(instruments)
        return {symbol: number for number, symbol in self._symbols.names().items()}


def _days(start: datetime, end: datetime) -> tuple[date, date]:
    last = require_utc(end) - timedelta(microseconds=1)
    return require_utc(start).date(), last.date()


def _clock(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment.astimezone(UTC)


def _writing_since(connection: psycopg.Connection[Any], moment: datetime) -> list[int]:
    """Processes that may still commit rows recorded at or before ``moment``.

    A writer reads the clock after its first write, so it has a transaction number by then.
    """
    return [process for (process,) in connection.execute(statements.WRITING_SINCE, [moment])]


def _write(
    connection: psycopg.Connection[Any], table: LabelTable, params_hash: str, cells: pl.DataFrame, labels: pl.DataFrame
) -> LabelsWritten:
    create_temporary(connection, statements.STAGE_CELLS)
    for statement in statements.stage(table):
        create_temporary(connection, statement)
    days = pl.col("minute_days").list.eval(pl.element().cast(pl.String)).list.join(",")
    lists = pl.concat_str(pl.lit("{"), days, pl.lit("}"))
    copy_rows(connection, "staged_label_cells", cells.with_columns(lists.alias("minute_days")))
    copy_rows(connection, f"staged_{table.strategy}_labels", labels)
    key = {"strategy": table.strategy, "params_hash": params_hash}
    connection.execute(statements.ADD_CELLS, key)
    connection.execute(statements.LOCK_CELLS, key)
    values = key | {"at": _clock(connection)}
    outdated = connection.execute(statements.retire(table), values).rowcount
    added = connection.execute(statements.add(table), values).rowcount
    withdrawn = connection.execute(statements.count_withdrawn(table), values).fetchone()
    assert withdrawn is not None
    connection.execute(statements.UPDATE_CELLS, values)
    gone = int(withdrawn[0])
    superseded = outdated - gone
    return LabelsWritten(
        inserted=added - superseded, superseded=superseded, withdrawn=gone, unchanged=labels.height - added
    )
