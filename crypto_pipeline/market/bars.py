"""The bar frame: the one registry of bar columns, and the schema of frames that follows from it.

A bar is keyed by (instrument, timeframe, open time); a frame holds bars of one timeframe. Optional columns are null
where the venue does not state them, never zero. Table, archive files, reads, checks and roll-up take their lists of
columns from here, so a new column is one entry here, a migration of ``market.ohlc_data``, ``market.ohlc_revisions``
and ``market.price_updates``, a test and a line of docs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

UTC_MS = pl.Datetime("ms", "UTC")


@dataclass(frozen=True, slots=True)
class BarField:
    """One column of a frame of bars.

    ``optional``: null where the venue does not state it; not negative, and the value of a wider bar is the sum of its
    parts. Optional columns are Float64 or Int64.
    """

    name: str
    dtype: pl.DataType
    description: str
    optional: bool = False


#: The columns of a frame of bars, in their order. A new optional column goes after ``trade_count``.
BAR_FIELDS = (
    BarField("instrument", pl.String(), "Canonical name."),
    BarField("open_time", UTC_MS, "Start of the bar's window, UTC."),
    BarField("open", pl.Float64(), "First price, in the quote asset."),
    BarField("high", pl.Float64(), "Highest price, in the quote asset."),
    BarField("low", pl.Float64(), "Lowest price, in the quote asset."),
    BarField("close", pl.Float64(), "Last price, in the quote asset."),
    BarField("volume", pl.Float64(), "Volume in the base asset."),
    BarField("quote_volume", pl.Float64(), "Volume in the quote asset; null where not stated.", True),
    BarField("taker_buy_volume", pl.Float64(), "Base volume bought by takers; null where not stated.", True),
    BarField("trade_count", pl.Int64(), "Trades in the bar; null where not stated.", True),
    BarField("source", pl.String(), "Where this copy comes from."),
    BarField("complete", pl.Boolean(), "False if the source saw only a part of the window."),
    BarField("revision", UTC_MS, "When the venue stated the values, UTC (not when they were stored)."),
)
#: Columns and dtypes of a frame of bars as it travels between rooms.
BAR_SCHEMA: dict[str, pl.DataType] = {field.name: field.dtype for field in BAR_FIELDS}
PRICE_COLUMNS = ("open", "high", "low", "close")
#: Columns that a venue may leave unstated.
OPTIONAL_COLUMNS = tuple(field.name for field in BAR_FIELDS if field.optional)
#: Columns with prices and amounts.
VALUE_COLUMNS = (*PRICE_COLUMNS, "volume", *OPTIONAL_COLUMNS)


def as_bars(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with the columns of BAR_SCHEMA in their order and types; an optional column that it lacks is null.

    Raises a Polars error where it lacks another one, or has values that do not fit.
    """
    lacking = [pl.lit(None, BAR_SCHEMA[name]).alias(name) for name in OPTIONAL_COLUMNS if name not in frame.columns]
    return frame.with_columns(lacking).select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items())


#: Trades as venues state them, one row a trade (or aggregate trade), ids ascending.
TRADE_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "trade_id": pl.Int64(),
    "first_id": pl.Int64(),
    "last_id": pl.Int64(),
    "time": UTC_MS,
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "taker_side": pl.String(),
}


class BarOrigin(StrEnum):
    """Where a copy of a bar came from; ``market.precedence`` says which copy is believed (invariant I1).

    Bars of another venue have sources of their own. A ``failover_`` copy was taken because the first venue could not be
    asked; any complete copy of the first venue is better, in whatever order they arrive. A ``substitute_`` copy was
    taken because the first venue contradicts itself (the row of the reconciliation is the evidence); only a verdict is
    better: the first venue's statement once it agrees with itself.
    """

    RECONCILED = "reconciled"
    SUBSTITUTE_BINANCE = "substitute_binance"
    SUBSTITUTE_COINBASE = "substitute_coinbase"
    SUBSTITUTE_KRAKEN = "substitute_kraken"
    SUBSTITUTE_REPLAY = "substitute_replay"
    SUBSTITUTE_REPLAY_STANDBY = "substitute_replay_standby"
    LIVE_AGGREGATED = "live_aggregated"
    LIVE_GAP_FILLED = "live_gap_filled"
    HISTORICAL_AGGREGATED = "historical_aggregated"
    VENUE_HISTORICAL = "venue_historical"
    FAILOVER_BINANCE = "failover_binance"
    FAILOVER_COINBASE = "failover_coinbase"
    FAILOVER_KRAKEN = "failover_kraken"
    FAILOVER_REPLAY = "failover_replay"
    FAILOVER_REPLAY_STANDBY = "failover_replay_standby"

    @classmethod
    def failover(cls, venue: str) -> BarOrigin:
        """Source of ``venue`` while the first venue cannot be asked. Raises ValueError for an unknown venue."""
        return cls(f"failover_{venue}")

    @classmethod
    def substitute(cls, venue: str) -> BarOrigin:
        """Source of ``venue`` where the first venue contradicts itself. Raises ValueError for an unknown venue."""
        return cls(f"substitute_{venue}")


#: Sources of copies that came from another venue than the first.
FAILOVER = frozenset(source for source in BarOrigin if source.startswith("failover_"))
SUBSTITUTE = frozenset(source for source in BarOrigin if source.startswith("substitute_"))
STAND_IN = FAILOVER | SUBSTITUTE


_REQUIRED = tuple(field.name for field in BAR_FIELDS if not field.optional)


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with exactly the columns and dtypes of BAR_SCHEMA; absent optional columns are filled with null.

    Raises ValueError that names the column where it is missing, has naive times, or values that do not fit.
    """
    if missing := [name for name in _REQUIRED if name not in frame.columns]:
        raise ValueError(f"bars lack the column {', '.join(missing)}: there are {', '.join(frame.columns)}")
    columns = []
    for name, dtype in BAR_SCHEMA.items():
        column = frame[name] if name in frame.columns else pl.Series(name, [None] * len(frame), dtype=dtype)
        if dtype == UTC_MS and not (isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone):
            raise ValueError(
                f"{name} is {column.dtype}: give Datetime with a time zone, for example Datetime('ms', 'UTC')"
            )
        try:
            columns.append(column.dt.convert_time_zone("UTC").cast(dtype) if dtype == UTC_MS else column.cast(dtype))
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{name} does not fit {dtype}: {str(error).splitlines()[0]}") from None
    return pl.DataFrame(columns)


def empty_bars() -> pl.DataFrame:
    """A frame of bars with no row."""
    return pl.DataFrame(schema=BAR_SCHEMA)


def vwap() -> pl.Expr:
    """Volume-weighted average price: quote volume / base volume, null where nothing traded or it is not stated."""
    return pl.when(pl.col("volume") > 0).then(pl.col("quote_volume") / pl.col("volume")).alias("vwap")
