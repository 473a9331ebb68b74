"""Repair of an archive file: by a proven copy, or by removing the file so that its bars are fetched again.

Before a file is removed from the catalogue, the bars that only it has are written into the ledger, with a note. So an
interrupted repair continues where it stopped, and bars that nobody has any more stay recorded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.gaps.arithmetic import merge_spans, subtract, whole_cells
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.archive import proof
from crypto_pipeline.store.archive.catalogue import ArchiveFile, sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.coverage.coverage import Coverage
from crypto_pipeline.store.coverage.ledger import WAITING, Ledger
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import swap
from crypto_pipeline.store.partitions.span import Span

_RETIRE = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE archive_id = %s AND status = 'current'
"""
# Bars that only the file had are missing from now on, and are fetched again.
_MISSING = """
UPDATE market.coverage
SET present = present - archived, archived = 0, built_from = NULL,
    data_version = nextval('market.data_version'), updated_at = now(),
    expected = expected - outside, outside = 0,
    final = expected - outside > 0 AND present - archived + explained >= expected - outside
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s AND archived > 0
"""


def replace(connections: Connections, file: ArchiveFile, copy: Path) -> bool:
    """Replace a damaged file by ``copy``. False, without a change, if the copy is not good either."""
    if not copy.is_file() or sha256(copy) != file.sha256:
        return False
    ArchiveStorage(file.base_url).replace(file.path, copy)
    fault = proof.examine(file)
    proof.note(connections, file, fault)
    return fault is None


#: Start of the notes of such ledger rows.
NOTE = "was in an archive file that was damaged: "


def write_down(coverage: Coverage, ledger: Ledger, symbols: Symbols, file: ArchiveFile) -> None:
    """Write the bars that only the file has into the ledger, unless the ledger explains their absence already."""
    assert file.timeframe is not None
    names = list(symbols.names().values())
    cells = coverage.cells([file.timeframe], file.first_open, file.end_open, names)
    inside = (pl.col("day") >= file.first_open.date()) & (pl.col("day") < file.end_open.date())
    cells = cells.filter((pl.col("archived") > 0) & inside)
    bounds = whole_cells(cells, file.timeframe).select("instrument", "start", "end")
    if bounds.is_empty():
        return
    known = ledger.open(file.timeframe, names, None, file.first_open, bounds["end"].max())  # type: ignore[arg-type]
    explained = known.filter(~pl.col("state").is_in(list(WAITING))).select(*bounds.columns)
    because = f"the archive file {file.path} that held it is damaged, and no backup has a copy"
    ledger.record(
        subtract(merge_spans(bounds), explained).with_columns(
            pl.lit(str(file.timeframe)).alias("timeframe"),
            pl.lit("lost").alias("state"),
            pl.lit(json.dumps({"because": because, "rule": "archive", "attempts": 0})).alias("evidence"),
            pl.lit(False).alias("attempted"),
            pl.lit(NOTE + file.path).alias("note"),
        )
    )


def given_up(ledger: Ledger, symbols: Symbols, timeframe: Timeframe | None = None) -> pl.DataFrame:
    """Ledger rows (GAP_SCHEMA) of bars of removed files that are still missing without a reason."""
    rows = ledger.open(timeframe, list(symbols.names().values()), [*WAITING, "unfillable"])
    return rows.filter(pl.col("note").str.starts_with(NOTE))


def give_up(connections: Connections, file: ArchiveFile) -> None:
    """Remove a damaged file from the catalogue. Bars that only it has count as missing; call ``write_down`` before.

    The caller holds retention's lock. Raises StoreError for trades, which no venue sends again.
    """
    if file.kind == "trades":
        raise StoreError(f"{file.url} holds trades, which cannot be fetched again: restore a backup that has it")
    swap.retry_until_unlocked(connections, Span(file.timeframe, file.first_open, file.end_open), _give_up, file)


def _give_up(connection: psycopg.Connection[Any], file: ArchiveFile) -> None:
    span = Span(file.timeframe, file.first_open, file.end_open)
    swap.lock_out_writers(connection, span)
    connection.execute(_RETIRE, [file.archive_id])
    if file.kind == "bars":
        connection.execute(_MISSING, span.values())
