"""Reading the archive: the files of a span, and a lazy frame over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA, vwap
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.archive import catalogue, proof
from crypto_pipeline.store.archive.catalogue import ArchiveFile, Kind
from crypto_pipeline.store.archive.object_store import scan_source
from crypto_pipeline.store.archive.rows import FILE_SCHEMAS
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

#: Schema of a scan of revisions: bars that were current in ``[recorded_at, superseded_at)``.
REVISION_SCHEMA: dict[str, pl.DataType] = {**READ_SCHEMA, "superseded_at": pl.Datetime("us", "UTC")}
#: Schema of a scan of trades.
ARCHIVED_TRADE_SCHEMA: dict[str, pl.DataType] = {**TRADE_SCHEMA, "venue": pl.String()}

SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "bars": READ_SCHEMA,
    "revisions": REVISION_SCHEMA,
    "trades": ARCHIVED_TRADE_SCHEMA,
}


class Archive:
    """Reads the archive. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def files(
        self,
        kind: Kind | None = "bars",
        timeframe: Timeframe | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> list[ArchiveFile]:
        """Current files whose span overlaps ``[start, end)`` (aware; None: unbounded), by kind, timeframe and time.

        To read files together with the table, list the files, read the table, list them again, and start over if the
        lists differ. A repeatable-read snapshot is not enough: a detached partition is invisible at once to all later
        statements of any snapshot.
        """
        wanted = Timeframe(timeframe) if timeframe is not None else None
        return self._connections.run(catalogue.find, kind, wanted, start, end)

    def scan(self, files: Sequence[ArchiveFile]) -> pl.LazyFrame:
        """All rows of files of one kind: bars in READ_SCHEMA, revisions in REVISION_SCHEMA, trades with their venue.

        Each file is sorted by instrument and time, and filters on both are pushed down to its row groups. Raises
        StoreError when the files are of several kinds, DamagedFileError when one is damaged (a local file is hashed
        before its first use in a process), FileNotFoundError when one is missing.
        """
        kinds = {file.kind for file in files}
        if len(kinds) > 1:
            raise StoreError(f"a scan is of one kind of file, not of {', '.join(sorted(kinds))}: scan each by itself")
        if not files:
            return pl.LazyFrame(schema=READ_SCHEMA)
        proof.require_whole(files)
        kind = kinds.pop()
        schema = SCHEMAS[kind]
        frame = pl.scan_parquet(
            [scan_source(file.url) for file in files],
            hive_partitioning=False,
            glob=False,
            schema=FILE_SCHEMAS[kind],
            missing_columns="insert",  # a file that is older than a column gets nulls in it
        )
        if "vwap" in schema:
            frame = frame.with_columns(vwap())  # computed from other columns, so the file does not have it
        return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
