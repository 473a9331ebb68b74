"""Reading superseded copies of bars, from the table and from archived months."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from crypto_pipeline.market.bars import vwap
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.store.archive import rows
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.reader import REVISION_SCHEMA
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    from crypto_pipeline.store.archive.reader import Archive

_ATTEMPTS = 5
_ORDER = ("instrument", "open_time", "superseded_at", "recorded_at")


class RevisionReads:
    """Reads copies of bars that were the truth for a while and were then replaced (I2). Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols, archive: Archive) -> None:
        self._connections, self._symbols, self._archive = connections, symbols, archive

    def read(self, instruments: Sequence[str], timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """Superseded copies of the bars with open time in ``[start, end)``, in REVISION_SCHEMA.

        A copy was the truth in ``[recorded_at, superseded_at)``. Sorted by instrument, open time and ``superseded_at``,
        so the copies of a bar are in the order in which they were replaced. Raises StoreError for an unknown instrument
        or a start after the end, ValueError for a naive time.
        """
        begin, until = require_utc(start), require_utc(end)
        if begin > until:
            raise StoreError(f"start {begin.isoformat()} is after end {until.isoformat()}: swap them")
        names = {number: name for name, number in self._symbols.ids(instruments).items()}
        width = Timeframe(timeframe)
        # rows move from the table to a file in one transaction: table and files are of one moment if the catalogue is
        # the same before and after
        files = self._archive.files("revisions", width, begin, until)
        for _ in range(_ATTEMPTS):
            table = self._connections.run(rows.revisions, names, width, begin, until)
            found = [table.with_columns(vwap()).select(_columns())]
            try:
                found += [self._archived(files, list(names.values()), begin, until)] if files else []
            except FileNotFoundError:
                found = []
            again = self._archive.files("revisions", width, begin, until)
            if found and again == files:
                return pl.concat(found).unique(maintain_order=True).sort(_ORDER)
            files = again
        raise StoreError("the archive changes all the time, or a file of it cannot be read: try again")

    def _archived(
        self, files: Sequence[ArchiveFile], names: Sequence[str], begin: datetime, until: datetime
    ) -> pl.DataFrame:
        inside = (pl.col("open_time") >= pl.lit(begin)) & (pl.col("open_time") < pl.lit(until))
        mine = pl.col("instrument").is_in(list(names))
        return self._archive.scan(files).filter(mine, inside).select(_columns()).collect()


def _columns() -> list[pl.Expr]:
    return [pl.col(name).cast(dtype) for name, dtype in REVISION_SCHEMA.items()]
