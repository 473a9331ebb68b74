"""The mirror's tables: bars in and out, and the state of each coverage cell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.lake.clickhouse import statements
from crypto_pipeline.lake.clickhouse.engine import MirrorEngine
from crypto_pipeline.market.bars import vwap
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.store.columns.bars import RANKS
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database.errors import StoreError, UnknownInstrumentError
from crypto_pipeline.store.mirror.clickhouse import CELLS_TO_MIRROR

#: Columns of a bar that are compared and sent: READ_SCHEMA without what is made from others.
CONTENT = tuple(name for name in READ_SCHEMA if name not in ("instrument", "open_time", "vwap"))
KEY = ("instrument_id", "open_time")
#: Schema of ``copies``.
COPY_SCHEMA: dict[str, pl.DataType] = {
    "instrument_id": pl.Int32(),
    **{name: READ_SCHEMA[name] for name in ("open_time", *CONTENT)},
    "epoch": pl.UInt16(),
    "data_version": pl.UInt64(),
    "removed": pl.Boolean(),
}


class MirrorTables:
    """Reads and writes the mirror that ``engine`` has open."""

    def __init__(self, engine: MirrorEngine) -> None:
        self._engine = engine

    def prepare(self) -> None:
        """Make what tables and views do not exist. Those of a cluster, which an operator has made, stay."""
        for statement in statements.tables():
            self._engine.command(statement)

    def bars(
        self,
        instruments: Sequence[str],
        timeframe: Timeframe,
        start: datetime,
        end: datetime,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Bars of the mirror with open time in ``[start, end)`` (aware), in READ_SCHEMA, sorted by instrument and time.

        Raises UnknownInstrumentError for a name that the mirror does not have, StoreError for an unknown column.
        """
        wanted = list(columns or READ_SCHEMA)
        if unknown := [name for name in wanted if name not in READ_SCHEMA]:
            raise StoreError(f"unknown column {unknown[0]!r}: use some of {', '.join(READ_SCHEMA)}")
        ids = {name: number for number, name in self.symbols().items()}
        if missing := [name for name in instruments if name not in ids]:
            raise UnknownInstrumentError(f"{missing[0]!r} is not in the ClickHouse mirror")
        needed = [name for name in CONTENT if name in wanted or ("vwap" in wanted and name.endswith("volume"))]
        query = statements.best_copies([*KEY, *needed])
        names = {ids[name]: name for name in instruments}
        found = self._ask(query, list(names), timeframe, start, end)
        instrument = pl.col("instrument_id").replace_strict(names, return_dtype=pl.String).alias("instrument")
        made = found.with_columns(instrument, *[vwap()] if "vwap" in wanted else [])
        made = made.sort("instrument", "open_time")
        return made.select(pl.col(name).cast(READ_SCHEMA[name]) for name in wanted)

    def copies(self, numbers: Sequence[int], timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """The best copy of every bar ever mirrored, removed ones too, in COPY_SCHEMA; instruments by number."""
        found = self._ask(statements.best_copies(list(COPY_SCHEMA), removed=True), numbers, timeframe, start, end)
        return found.select(pl.col(name).cast(dtype) for name, dtype in COPY_SCHEMA.items())

    def _ask(
        self, query: str, numbers: Sequence[int], timeframe: Timeframe, start: datetime, end: datetime
    ) -> pl.DataFrame:
        # open times are whole milliseconds, so rounding up is right for both bounds
        bounds = {"start": start, "end": end}
        moments = {name: -(-int(require_utc(at).timestamp() * 1_000_000) // 1000) for name, at in bounds.items()}
        values = {"timeframe": str(timeframe), "instruments": list(numbers), **moments}
        return self._engine.frame(query, values)

    def write(self, timeframe: Timeframe, copies: pl.DataFrame) -> None:
        """Append copies of bars, in COPY_SCHEMA. The order of arrival does not matter, nor does a repetition."""
        self._engine.insert("bars", stored_rows(timeframe, copies))

    def states(self, timeframe: Timeframe) -> pl.DataFrame:
        """What the mirror has of each cell, in CELLS_TO_MIRROR; an emptied cell has 0 rows."""
        found = self._engine.frame(statements.STATES, {"timeframe": str(timeframe)})
        return found.select(pl.col(name).cast(dtype) for name, dtype in CELLS_TO_MIRROR.items())

    def set_states(self, timeframe: Timeframe, cells: pl.DataFrame) -> None:
        """State what the mirror has of ``cells`` (CELLS_TO_MIRROR)."""
        self._engine.insert("cells", cells.select(pl.lit(str(timeframe)).alias("timeframe"), *CELLS_TO_MIRROR))

    def doubt(self) -> None:
        """Forget the state of all cells, so that the next run compares their rows."""
        self._engine.command(statements.DOUBT)

    def symbols(self) -> dict[int, str]:
        """Names of instruments by number."""
        return dict(self._engine.frame(statements.SYMBOLS).select("instrument_id", "symbol").iter_rows())

    def set_symbols(self, names: dict[int, str]) -> None:
        """Tell the mirror new names of instruments."""
        known = self.symbols()
        new = [(number, name) for number, name in names.items() if known.get(number) != name]
        schema = {"instrument_id": pl.Int32(), "symbol": pl.String()}
        self._engine.insert("instruments", pl.DataFrame(new, schema=schema, orient="row"))

    def mark(self) -> str:
        """The mark by which PostgreSQL knows the state of the mirror; empty: none yet."""
        return str(self._engine.frame(statements.MARK).item())

    def set_mark(self, mark: str) -> None:
        """Give the mirror another mark."""
        self._engine.insert("marks", pl.DataFrame({"mark": [mark]}))

    def figures(self) -> dict[str, int]:
        """Stored ``rows`` (all copies), ``bytes`` on disk and ``parts`` of the server asked."""
        return self._engine.frame(statements.FIGURES, {"database": self._engine.address.database}).row(0, named=True)

    def merge(self) -> None:
        """Merge all parts now. Reads never need it; it saves space and time."""
        self._engine.command(statements.MERGE)

    def drop(self) -> None:
        """Drop the mirror with all its tables."""
        self._engine.command(statements.DROP)


def stored_rows(timeframe: Timeframe, copies: pl.DataFrame) -> pl.DataFrame:
    """Copies of bars (COPY_SCHEMA) with the columns of the table ``bars`` that it does not make itself."""
    rank = pl.col("source").replace_strict(RANKS, default=0, return_dtype=pl.UInt16).alias("source_rank")
    return copies.select(*COPY_SCHEMA, rank, pl.lit(str(timeframe)).alias("timeframe"))
