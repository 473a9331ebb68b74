"""Features of long spans: closed days from the mirror, the rest from the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.lake.reads.files import FileColumns
from crypto_pipeline.lake.reads.mirrored import MirrorReads
from crypto_pipeline.lake.reads.per_store import PerStore
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store import Store
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.freshness import Freshness
from crypto_pipeline.store.research.features import Features

#: Spans with at most so many days of all instruments are read from the table.
TABLE_DAYS = 30


class FeatureReads:
    """Reads features as ``Features.read`` does, and long spans from files where these are fresh. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._table: Features = store.features
        self._symbols = store.symbols
        self._mirror = MirrorReads(Freshness(store.connections, MirrorSeries("features")))
        self._schema: dict[str, pl.DataType] = {}

    def read(
        self, instruments: Sequence[str], start: datetime, end: datetime, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Stored rows with open time in ``[start, end)``: ``instrument``, ``open_time`` and ``columns`` (default: all),
        sorted by instrument and time.

        Raises StoreError for an unknown column or instrument, ValueError for a naive time.
        """
        begin, until = require_utc(start), require_utc(end)
        days = len(instruments) * max(0, (until - begin).days)
        if days <= TABLE_DAYS or fork_safety.without_polars():
            return self._table.read(instruments, begin, until, columns)
        schema = self._known(instruments, begin, columns)
        wanted = [name for name in schema if name != "instrument"] if columns is None else list(columns)
        names = list(dict.fromkeys(["instrument", "open_time", *wanted]))
        if any(name not in schema for name in names):
            return self._table.read(instruments, begin, until, columns)  # a new column, or the message about it

        def table(chosen: dict[str, int], low: datetime, high: datetime) -> pl.DataFrame:
            return self._table.read(list(chosen), low, high, names[2:]).select(names)

        found = self._mirror.read(self._symbols.ids(instruments), begin, until, FileColumns(schema, names), table)
        return self._table.read(instruments, begin, until, columns) if found is None else found

    def _known(
        self, instruments: Sequence[str], moment: datetime, columns: Sequence[str] | None
    ) -> dict[str, pl.DataType]:
        """Columns and dtypes of the table; asked again for a column that is unknown."""
        if not self._schema or any(name not in self._schema for name in columns or ()):
            self._schema = dict(self._table.read(instruments, moment, moment).schema)
        return self._schema


_readers = PerStore(FeatureReads)


def feature_reads(store: Store) -> FeatureReads:
    """The store's reads of features, through the mirror where it is fresh. Its answers are those of
    ``store.features``.
    """
    return _readers.of(store)
