"""Reading bars into Polars frames, over kept ADBC connections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, vwap
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.store.bar_columns import RANKS
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.pool import Connections
from crypto_pipeline.store.symbols import Symbols

#: What ``read`` returns: the schema of bars, since when we have known them, and their average price.
#: ``recorded_at`` keeps its microseconds, so that it can be used for ``as_of`` again.
READ_SCHEMA: dict[str, pl.DataType] = {
    **BAR_SCHEMA,
    "recorded_at": pl.Datetime("us", "UTC"),
    "vwap": pl.Float64(),
}

_VALUES = (
    "instrument_id, open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, "
    "source_rank, complete, revision, recorded_at"
)
# ANY(ARRAY(SELECT …)) instead of a join: PostgreSQL 15 otherwise misses the key and reads the whole partition.
_WANTED = """
instrument_id = ANY(ARRAY(SELECT instrument_id FROM market.instruments WHERE symbol = ANY($1)))
AND timeframe = $2 AND open_time >= $3 AND open_time < $4
"""

_READ = f"SELECT {_VALUES} FROM market.ohlc_data WHERE {_WANTED}"  # noqa: S608

_READ_AS_OF = f"""
SELECT {_VALUES} FROM market.ohlc_data WHERE {_WANTED} AND recorded_at <= $5
UNION ALL
SELECT {_VALUES} FROM market.ohlc_revisions WHERE {_WANTED} AND recorded_at <= $5 AND superseded_at > $5
"""  # noqa: S608

_LATEST = f"""
SELECT {", ".join(f"o.{name}" for name in _VALUES.split(", "))}
FROM unnest(ARRAY(SELECT instrument_id FROM market.instruments WHERE symbol = ANY($1))) AS i (number)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data b
    WHERE b.instrument_id = i.number AND b.timeframe = $2
    ORDER BY b.open_time DESC LIMIT 1
) AS o
"""  # noqa: S608

# OFFSET 0 has every cell read by the key, instead of one reading of everything joined to the cells.
_CELLS = """
FROM unnest($1::int[], $2::int[]) AS c (number, day)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data b
    WHERE b.instrument_id = c.number AND b.timeframe = $3
      AND b.open_time >= timestamptz 'epoch' + c.day * interval '24 hours'
      AND b.open_time < timestamptz 'epoch' + (c.day + $4) * interval '24 hours'
    OFFSET 0
) AS o
"""
_OPEN_TIMES = "SELECT o.instrument_id, o.open_time" + _CELLS
_IN_CELLS = f"SELECT {', '.join(f'o.{name}' for name in _VALUES.split(', '))}" + _CELLS

_SPAN = """
SELECT c.instrument_id, sum(c.present)::bigint AS rows, f.first, l.last
FROM market.coverage c
JOIN market.instruments i USING (instrument_id)
LEFT JOIN LATERAL (
    SELECT b.open_time AS first FROM market.ohlc_data b
    WHERE b.instrument_id = c.instrument_id AND b.timeframe = $2 ORDER BY b.open_time LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
    SELECT b.open_time AS last FROM market.ohlc_data b
    WHERE b.instrument_id = c.instrument_id AND b.timeframe = $2 ORDER BY b.open_time DESC LIMIT 1
) AS l ON true
WHERE i.symbol = ANY($1) AND c.timeframe = $2
GROUP BY c.instrument_id, f.first, l.last
"""


class Reader:
    """Reads bars. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def read(
        self,
        instruments: Sequence[str],
        timeframe: Timeframe,
        start: datetime,
        end: datetime,
        *,
        as_of: datetime | None = None,
    ) -> pl.DataFrame:
        """Bars with open time in ``[start, end)``, sorted by instrument and time, in READ_SCHEMA.

        ``as_of`` gives what was stored at that moment (the revision of a bar whose values were confirmed later may be
        newer). Raises StoreError for an unknown instrument or a start after the end, ValueError for a naive time.
        """
        begin, until = require_utc(start), require_utc(end)
        if begin > until:
            raise StoreError(f"start {begin.isoformat()} is after end {until.isoformat()}: swap them")
        ids = self._symbols.ids(instruments)
        parameters = [list(ids), str(Timeframe(timeframe)), begin, until]
        if as_of is None:
            answer = self._connections.frame(_READ, parameters)
        else:
            answer = self._connections.frame(_READ_AS_OF, [*parameters, require_utc(as_of)])
        return _bars(answer, ids)

    def latest(self, instruments: Sequence[str], timeframe: Timeframe) -> pl.DataFrame:
        """The newest bar of each instrument that has one, in READ_SCHEMA."""
        ids = self._symbols.ids(instruments)
        return _bars(self._connections.frame(_LATEST, [list(ids), str(Timeframe(timeframe))]), ids)

    def open_times(self, cells: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        """Open times of the stored bars in coverage cells (``instrument``, ``day``), sorted."""
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        wanted = _cell_numbers(cells, ids)
        timeframe = Timeframe(timeframe)
        parameters = [wanted["instrument"].to_list(), wanted["day"].to_list(), str(timeframe), timeframe.cell_days]
        answer = self._connections.frame(_OPEN_TIMES, parameters)
        return answer.select(_names(ids), pl.col("open_time").cast(BAR_SCHEMA["open_time"])).sort(
            "instrument", "open_time"
        )

    def cells(self, cells: pl.DataFrame, timeframe: Timeframe, days: int = 1) -> pl.DataFrame:
        """The bars of ``days`` days from each cell's ``day`` on (``instrument``, ``day``), sorted, in READ_SCHEMA."""
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        wanted = _cell_numbers(cells, ids)
        parameters = [wanted["instrument"].to_list(), wanted["day"].to_list(), str(Timeframe(timeframe)), days]
        return _bars(self._connections.frame(_IN_CELLS, parameters), ids)

    def span(self, instruments: Sequence[str], timeframe: Timeframe) -> pl.DataFrame:
        """Per instrument with bars: ``instrument``, ``rows``, ``first`` and ``last`` open time."""
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(_SPAN, [list(ids), str(Timeframe(timeframe))])
        times = pl.col("first", "last").cast(BAR_SCHEMA["open_time"])
        return answer.select(_names(ids), "rows", times).filter(pl.col("rows") > 0).sort("instrument")


def _cell_numbers(cells: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    return cells.select(
        pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32),
        pl.col("day").cast(pl.Date).to_physical().cast(pl.Int32),
    ).unique()


def _names(ids: dict[str, int]) -> pl.Expr:
    symbols = {number: symbol for symbol, number in ids.items()}
    return pl.col("instrument_id").replace_strict(symbols, return_dtype=pl.String).alias("instrument")


def _bars(answer: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    """Sorted by name (as a number, which is several times cheaper), and names for numbers."""
    places = {ids[symbol]: place for place, symbol in enumerate(sorted(ids))}
    place = pl.col("instrument_id").replace_strict(places, return_dtype=pl.Int32)
    sources = {rank: source for source, rank in RANKS.items()}
    source = pl.col("source_rank").replace_strict(sources, return_dtype=pl.String).alias("source")
    bars = answer.sort(place, "open_time").with_columns(_names(ids), source, vwap())
    return bars.select(pl.col(name).cast(dtype) for name, dtype in READ_SCHEMA.items())
