"""Labels of long spans: closed days from the mirror, the rest from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from crypto_pipeline.lake.reads.files import FileColumns
from crypto_pipeline.lake.reads.mirrored import MirrorReads
from crypto_pipeline.lake.reads.per_store import PerStore
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store import Store
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.mirror import rows
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline.store.mirror.freshness import Freshness
from crypto_pipeline.store.research.label_columns import LabelTable

#: Spans with at most so many days of all instruments are read from the table.
TABLE_DAYS = 60
_TIME = rows.TIME_COLUMN["labels"]


class LabelReads:
    """Reads labels as ``Labels.read`` does, and long spans from files where these are fresh. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._table, self._symbols, self._connections = store.labels, store.symbols, store.connections
        self._mirrors: dict[MirrorSeries, tuple[MirrorReads, dict[str, pl.DataType]]] = {}

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
        """Labels of signals in ``[start, end)`` as they are, or were at ``as_of``, sorted by signal and instrument, in
        ``table.stored_schema``.

        Raises StoreError for an unknown instrument or an ``as_of`` in the future, ValueError for a naive time.
        """
        begin, until = require_utc(start), require_utc(end)
        if instruments is None:
            ids = {symbol: number for number, symbol in self._symbols.names().items()}
        else:
            ids = self._symbols.ids(instruments)
        if len(ids) * (until - begin).days <= TABLE_DAYS or fork_safety.without_polars():
            return self._table.read(table, params_hash, begin, until, instruments=instruments, as_of=as_of)
        moment = None if as_of is None else self._table.settle(as_of)
        mirror, schema = self._mirror(MirrorSeries("labels", f"{table.strategy}/{params_hash}"))
        types = {name: schema[name] for name in table.stored_schema}

        def stored(chosen: dict[str, int], low: datetime, high: datetime) -> pl.DataFrame:
            found = self._table.read(table, params_hash, low, high, instruments=list(chosen), as_of=moment)
            return found.cast(types).sort("instrument", _TIME)  # type: ignore[arg-type]

        wanted = FileColumns(schema, list(types), time=_TIME)
        found = mirror.read(ids, begin, until, wanted, stored, moment)
        if found is None:
            return self._table.read(table, params_hash, begin, until, instruments=instruments, as_of=moment)
        return found.cast(dict(table.stored_schema)).sort(_TIME, "instrument")  # type: ignore[arg-type]

    def _mirror(self, of: MirrorSeries) -> tuple[MirrorReads, dict[str, pl.DataType]]:
        """The series' reads, and the columns and dtypes of its files."""
        found = self._mirrors.get(of)
        if found is None:
            nothing = FileSpan(of, None, date(1970, 1, 1), date(1970, 1, 1))
            schema = dict(rows.read(self._connections, nothing, self._symbols.names()).schema)
            found = self._mirrors.setdefault(of, (MirrorReads(Freshness(self._connections, of)), schema))
        return found


_readers = PerStore(LabelReads)


def label_reads(store: Store) -> LabelReads:
    """The store's reads of labels, through the mirror where it is fresh. Its answers are those of ``store.labels``."""
    return _readers.of(store)
