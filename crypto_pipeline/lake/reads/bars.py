"""Bars of long spans: closed days from the mirror, the rest from table and archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.lake.reads.files import FileColumns
from crypto_pipeline.lake.reads.mirrored import MirrorReads
from crypto_pipeline.lake.reads.newest import newest_of
from crypto_pipeline.lake.reads.per_store import PerStore
from crypto_pipeline.market.bars import vwap
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.rows import BAR_FILE
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.freshness import Freshness
from crypto_pipeline.store.mirror.newest import first_day
from crypto_pipeline.store.reads.bars import BarReader, BarReads
from crypto_pipeline.store.reads.queries import Wanted

#: Spans with at most so many bars are read from the table, which answers them as fast.
TABLE_BARS = 5_000
_KEY = ("instrument", "open_time")
_MADE = {"vwap": (vwap(), READ_SCHEMA["vwap"])}


class LongReads(BarReader):
    """Reads bars as ``BarReader`` does, and long spans from files where these are fresh. Thread-safe."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.connections, store.symbols, store.archive)
        self.router: BarReads = _MirrorRouter(store.reader.router, store)


class _MirrorRouter:
    """Sends long spans to the mirror, everything else ``below``."""

    def __init__(self, below: BarReads, store: Store) -> None:
        self._below, self._connections = below, store.connections
        self._mirrors: dict[Timeframe, MirrorReads] = {}

    def read(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame:
        """The bars with the ``columns`` of READ_SCHEMA, sorted by instrument and time. Sets ``wanted.columns``."""
        if wanted.most <= TABLE_BARS or not ids or fork_safety.without_polars():
            return self._below.read(wanted, ids, columns)
        if wanted.last is not None:
            found = self._newest(wanted, ids, columns) if wanted.as_of is None else None
            return self._below.read(wanted, ids, columns) if found is None else found
        needed = list(dict.fromkeys([*columns, *(["complete"] if wanted.complete else [])]))

        def table(chosen: dict[str, int], begin: datetime, until: datetime) -> pl.DataFrame:
            part = replace(wanted, ids=tuple(chosen.values()), begin=begin, until=until)
            return self._below.read(part, chosen, list(dict.fromkeys([*_KEY, *needed])))

        step = wanted.timeframe.delta // timedelta(milliseconds=1)
        columns_of_files = FileColumns(BAR_FILE, needed, made=_MADE, step=step)
        found = self._mirror(wanted.timeframe).read(
            ids, wanted.begin, wanted.until, columns_of_files, table, wanted.as_of
        )
        if found is None:
            return self._below.read(wanted, ids, columns)
        if wanted.complete and not found["complete"].all():
            found = found.filter("complete")
        # not `select`, which takes longer
        return found if needed == list(columns) else pl.DataFrame([found[name] for name in columns])

    def _newest(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame | None:
        """The newest bars, from the days that have them by their counts; None if these are too few."""
        assert wanted.last is not None
        more = self._connections.run(first_day, wanted.ids, wanted.timeframe, wanted.until, wanted.last)
        if more is None:
            return None
        span = replace(wanted, begin=max(wanted.begin, midnight(more)), last=None)
        bars = self.read(span, ids, list(dict.fromkeys(["instrument", *columns])))
        found = newest_of(bars, len(ids), wanted.last)
        if found is None or found.columns == list(columns):
            return found
        return pl.DataFrame([found[name] for name in columns])

    def _mirror(self, timeframe: Timeframe) -> MirrorReads:
        found = self._mirrors.get(timeframe)
        if found is None:
            freshness = Freshness(self._connections, MirrorSeries.of_bars(timeframe))
            found = self._mirrors.setdefault(timeframe, MirrorReads(freshness, timeframe.cell_days))
        return found


_readers = PerStore(LongReads)


def long_reads(store: Store) -> LongReads:
    """The store's reads of bars, through the mirror where it is fresh. Its answers are those of ``store.reader``."""
    return _readers.of(store)
