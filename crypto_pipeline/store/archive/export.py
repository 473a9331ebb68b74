"""Export of tables to Parquet: a month of bars with their history, or a day of trades, merged with archived rows.

Nothing is locked. A fingerprint of the rows is computed before the first row is read. ``detach``, which locks, compares
it; if rows changed meanwhile, the files are discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.archive import accounting, merge, proof, rows
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.merge import Copies
from crypto_pipeline.store.archive.object_store import scan_source
from crypto_pipeline.store.archive.parquet import GROUP_ROWS, ParquetOut, Tally
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.span import Span

#: Number of parallel database sessions for reading; each uses a processor of the server.
READERS = 2
C = TypeVar("C")
R = TypeVar("R")
_TRADE_KEY = ["instrument", "venue", "time", "trade_id"]


@dataclass(slots=True)
class Exported:
    """Files of one span that are not stored yet, and the fingerprint of the rows from which they were made."""

    span: Span
    made_from: str
    hot_rows: int
    files: list[tuple[str, Path, Tally]] = field(default_factory=list)
    #: ``instrument_id``, ``day``, ``rows``: bars of each coverage cell in the files
    cells: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=accounting.CELLS))


def export(connections: Connections, span: Span, current: Sequence[ArchiveFile], folder: Path) -> Exported:
    """Write files of ``span`` into ``folder``: the rows of the tables, and rows that only the ``current`` files have.

    If both have a bar, the better copy is used (see ``archive.merge``). Raises StoreError.
    """
    found = connections.run(archive_spans.fingerprint, span)
    out = Exported(span, found.text, found.hot_rows)
    names = {number: name for name, number in connections.run(archive_spans.symbols, span).items()}
    if span.timeframe is None:
        _export_trades(connections, out, names, current, folder)
    else:
        _export_bars(connections, out, span.timeframe, names, current, folder)
    if out.hot_rows != found.hot_rows:
        raise archive_spans.ChangedError(
            f"{span}: {out.hot_rows:,} rows were read where {found.hot_rows:,} were counted"
        )
    return out


def _export_bars(
    connections: Connections,
    out: Exported,
    timeframe: Timeframe,
    names: dict[int, str],
    current: Sequence[ArchiveFile],
    folder: Path,
) -> None:
    span = out.span
    ids = {name: number for number, name in names.items()}
    archived = {kind: [file for file in current if file.kind == kind] for kind in ("bars", "revisions")}
    history: list[pl.DataFrame] = []
    counted: list[pl.DataFrame] = []
    hot_rows = 0

    def read(chosen: dict[int, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        bars = connections.run(rows.bars, chosen, timeframe, span.start, span.end)
        return bars, connections.run(rows.revisions, chosen, timeframe, span.start, span.end)

    path = folder / f"{span.name}.bars.parquet"
    with ParquetOut(path, "bars") as file:
        for chosen, (hot, past) in _ahead(read, _chunks(names, span)):
            hot_rows += hot.height
            before = Copies(*(_archived(files, kind, chosen) for kind, files in archived.items()))
            merged = merge.merge(Copies(hot, past), before)
            file.add(merged.bars)
            history.append(merged.past)
            counted.append(accounting.cells(merged.bars, ids))
    out.hot_rows = hot_rows
    if file.tally.rows:
        out.files.append(("bars", path, file.tally))
    out.cells = pl.concat([out.cells, *counted])
    _export_history(out, history, folder)


def _export_history(out: Exported, history: Sequence[pl.DataFrame], folder: Path) -> None:
    """Write superseded copies to a file, if there are any."""
    # the history of a bar that stayed in the table is both there and in an earlier file
    past = pl.concat([pl.DataFrame(schema=rows.REVISION_FILE), *history]).unique()
    if past.height:
        path = folder / f"{out.span.name}.revisions.parquet"
        with ParquetOut(path, "revisions") as file:
            for part in past.sort(*merge.KEY, "superseded_at", "recorded_at").iter_slices(GROUP_ROWS):
                file.add(part)
        out.files.append(("revisions", path, file.tally))


def _export_trades(
    connections: Connections, out: Exported, names: dict[int, str], current: Sequence[ArchiveFile], folder: Path
) -> None:
    span = out.span
    venues = connections.run(archive_spans.venues)
    out.hot_rows = 0

    def read(chosen: dict[int, str]) -> pl.DataFrame:
        return connections.run(rows.day_of_trades, chosen, venues, span.start, span.end)

    path = folder / f"{span.name}.trades.parquet"
    with ParquetOut(path, "trades") as file:
        for chosen, hot in _ahead(read, [{number: name} for number, name in _sorted(names)]):
            out.hot_rows += hot.height
            rest = _archived(current, "trades", chosen).join(hot, on=_TRADE_KEY, how="anti")
            whole = pl.concat([hot, rest]).sort(*_TRADE_KEY) if rest.height else hot
            for part in whole.iter_slices(4 * GROUP_ROWS):
                file.add(part)
    if file.tally.rows:
        out.files.append(("trades", path, file.tally))


def _archived(files: Sequence[ArchiveFile], kind: str, names: dict[int, str]) -> pl.DataFrame:
    schema = rows.FILE_SCHEMAS[kind]
    if not files:
        return pl.DataFrame(schema=schema)
    proof.require_whole(files)
    frame = pl.scan_parquet([scan_source(file.url) for file in files], hive_partitioning=False, glob=False)
    chosen = frame.filter(pl.col("instrument").is_in(list(names.values())))
    return chosen.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).collect()


def _chunks(names: dict[int, str], span: Span) -> list[dict[int, str]]:
    """Instruments by name, in groups that make about one row group each."""
    assert span.timeframe is not None
    bars = max(1, span.timeframe.count(span.start, span.end))
    step = max(1, GROUP_ROWS // bars)
    ordered = _sorted(names)
    return [dict(ordered[start : start + step]) for start in range(0, len(ordered), step)]


def _sorted(names: dict[int, str]) -> list[tuple[int, str]]:
    return sorted(names.items(), key=lambda item: item[1])


def _ahead(read: Callable[[C], R], chunks: Sequence[C]) -> Iterator[tuple[C, R]]:
    """Yield chunks with their rows, in order; a bounded number of following chunks is read meanwhile."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="export") as pool:
        coming: list[tuple[C, Future[R]]] = [(chunk, pool.submit(read, chunk)) for chunk in chunks[: READERS + 1]]
        for number in range(len(chunks)):
            chunk, result = coming.pop(0)
            done = result.result()
            following = number + READERS + 1
            if following < len(chunks):
                coming.append((chunks[following], pool.submit(read, chunks[following])))
            yield chunk, done
