"""Trades as numpy columns, between frames or stream events and PostgreSQL's binary format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field

if TYPE_CHECKING:
    from crypto_pipeline.market.trades.live_trade import LiveTrade

Array = npt.NDArray[Any]

#: Columns of market.trades in their order.
TRADE_LAYOUT = (
    Field("time", "timestamptz"),
    Field("trade_id", "int8"),
    Field("first_id", "int8"),
    Field("last_id", "int8"),
    Field("price", "float8"),
    Field("quantity", "float8"),
    Field("instrument_id", "int4"),
    Field("venue_id", "int2"),
    Field("taker_buy", "bool"),
)


def columns_from_frame(frame: pl.DataFrame, ids: Mapping[str, int]) -> dict[str, Array]:
    """The columns of a TRADE_SCHEMA frame: instrument ids, times in microseconds since PostgreSQL's epoch."""
    numbered = frame["instrument"].replace_strict(ids, return_dtype=pl.Int32)
    return {
        "time": frame["time"].cast(UTC_MS).to_physical().to_numpy() * 1000 - PG_EPOCH_US,
        **{name: frame[name].to_numpy() for name in ("trade_id", "first_id", "last_id", "price", "quantity")},
        "instrument_id": numbered.to_numpy(),
        "taker_buy": (frame["taker_side"] == "buy").to_numpy(),
    }


def columns_from_events(trades: Sequence[LiveTrade], ids: Mapping[str, int]) -> dict[str, Array]:
    """The same columns from stream events."""
    count = len(trades)

    def column(values: Iterable[Any], kind: type) -> Array:
        return np.fromiter(values, kind, count)

    return {
        "time": column((trade.time_ms for trade in trades), np.int64) * 1000 - PG_EPOCH_US,
        "trade_id": column((trade.trade_id for trade in trades), np.int64),
        "first_id": column((trade.first_id for trade in trades), np.int64),
        "last_id": column((trade.last_id for trade in trades), np.int64),
        "price": column((trade.price for trade in trades), np.float64),
        "quantity": column((trade.quantity for trade in trades), np.float64),
        "instrument_id": column((ids[trade.instrument] for trade in trades), np.int32),
        "taker_buy": column((trade.taker_buy for trade in trades), np.bool_),
    }
