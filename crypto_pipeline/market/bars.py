"""The bar frame: one Polars schema that every room speaks.

A bar is keyed by (instrument, timeframe, open time); a frame holds bars of one timeframe. ``quote_volume``,
``taker_buy_volume`` and ``trade_count`` are null where the venue does not state them: never zero in their place.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl

UTC_MS = pl.Datetime("ms", "UTC")

#: Columns and dtypes of a frame of bars as it travels between rooms.
#: ``volume`` and ``taker_buy_volume`` are in the base asset, ``quote_volume`` in the quote asset.
#: ``revision`` is when the venue stated the value (not when it was stored).
BAR_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "open_time": UTC_MS,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "quote_volume": pl.Float64(),
    "taker_buy_volume": pl.Float64(),
    "trade_count": pl.Int64(),
    "source": pl.String(),
    "complete": pl.Boolean(),
    "revision": UTC_MS,
}

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


class Source(StrEnum):
    """Where a copy of a bar came from; ``rank`` says which copy is believed (invariant I1)."""

    RECONCILED = "reconciled"
    LIVE_AGGREGATED = "live_aggregated"
    LIVE_GAP_FILLED = "live_gap_filled"
    HISTORICAL_AGGREGATED = "historical_aggregated"
    VENUE_HISTORICAL = "venue_historical"

    @property
    def rank(self) -> int:
        """Higher wins among complete copies."""
        return _RANKS[self]


_RANKS = {
    Source.RECONCILED: 50,
    Source.LIVE_AGGREGATED: 40,
    Source.LIVE_GAP_FILLED: 30,
    Source.HISTORICAL_AGGREGATED: 20,
    Source.VENUE_HISTORICAL: 10,
}


_REQUIRED = ("instrument", "open_time", "open", "high", "low", "close", "volume", "source", "complete", "revision")


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with exactly the columns and dtypes of BAR_SCHEMA; what a venue may leave unstated is filled with null.

    Raises ValueError that names the column: one that is missing, a naive time, or values that do not fit.
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
