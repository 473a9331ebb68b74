"""Impossible bars and trades: one set of rules for REST answers, streams, files and the store.

The rules stand here in three forms: expressions over a frame for the store (``bar_fault_exprs``), masks over arrays for
pages of an answer (``bar_faults``), and one bar or trade at a time for streams (``bar_fault``, ``trade_fault``). A
property test compares all three with an independent oracle.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

_PRICES = ("open", "high", "low", "close")

#: Upper bounds, far above anything that trades, and low enough that sums over months stay finite and counts exact.
#: Volumes and counts are bounded for each minute of a bar, so that bars which may be stored roll up to such bars.
MAX_PRICE = 1e12
MAX_AMOUNT = 1e16
MAX_COUNT = 10**9
MAX_ID = 2**53
#: Times outside of this are in another unit than milliseconds (2100-01-01).
MAX_MS = 4_102_444_800_000
#: Sums of the same trades in another order differ by rounding.
TAKER_TOLERANCE = 1 + 1e-9

_NOT_FINITE = "a value is not a finite number"
_NOT_ABOVE_ZERO = "a price is not above zero"
_NEGATIVE = "a volume or count is negative"
_TOO_LARGE = "a value is larger than anything that trades"
_NOT_ENCLOSED = "high or low does not enclose open and close"
_TAKER = "taker volume is larger than volume"


def bar_fault_exprs(minutes: int = 1) -> dict[str, pl.Expr]:
    """Reason → expression over BAR_SCHEMA that is true for an impossible bar of ``minutes`` (null for a null)."""
    col = pl.col
    amounts = ("volume", "quote_volume", "taker_buy_volume")
    return {
        _NOT_FINITE: pl.any_horizontal(~col(name).is_finite() for name in (*_PRICES, *amounts)),
        _NOT_ABOVE_ZERO: pl.any_horizontal(col(name) <= 0 for name in _PRICES),
        _NEGATIVE: pl.any_horizontal(col(name) < 0 for name in (*amounts, "trade_count")),
        _TOO_LARGE: pl.any_horizontal(
            *(col(name) > MAX_PRICE for name in _PRICES),
            *(col(name) > MAX_AMOUNT * minutes for name in amounts),
            col("trade_count") > MAX_COUNT * minutes,
        ),
        _NOT_ENCLOSED: (col("high") < pl.max_horizontal("open", "close", "low"))
        | (col("low") > pl.min_horizontal("open", "close", "high")),
        _TAKER: col("taker_buy_volume") > col("volume") * TAKER_TOLERANCE,
    }


def bar_fault(
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    quote: float | None = None,
    taker: float | None = None,
    count: int | None = None,
    minutes: int = 1,
) -> str | None:
    """Why a bar of ``minutes`` is impossible, or None. Values that a venue does not state are None."""
    most = MAX_AMOUNT * minutes
    # the usual case in one expression: NaN fails every comparison
    if (
        0.0 < low <= open_ <= high <= MAX_PRICE
        and low <= close <= high
        and 0.0 <= volume <= most
        and (quote is None or 0.0 <= quote <= most)
        and (taker is None or 0.0 <= taker <= volume * TAKER_TOLERANCE)
        and (count is None or 0 <= count <= MAX_COUNT * minutes)
    ):
        return None
    prices, amounts = (open_, high, low, close), [value for value in (volume, quote, taker) if value is not None]
    if not np.isfinite([*prices, *amounts]).all():
        return _NOT_FINITE
    if min(prices) <= 0:
        return _NOT_ABOVE_ZERO
    if min(amounts) < 0 or (count is not None and count < 0):
        return _NEGATIVE
    if max(prices) > MAX_PRICE or max(amounts) > most or (count is not None and count > MAX_COUNT * minutes):
        return _TOO_LARGE
    return _NOT_ENCLOSED if high < max(prices) or low > min(prices) else _TAKER


def bar_faults(
    values: Mapping[str, NDArray[np.float64]], counts: NDArray[np.int64] | None = None, minutes: int = 1
) -> dict[int, str]:
    """Row number → reason of the impossible bars of ``minutes``; ``values`` has columns of BAR_SCHEMA by name."""
    opened, high, low, close = (values[name] for name in _PRICES)
    volume = values["volume"]
    amounts = [values[name] for name in ("volume", "quote_volume", "taker_buy_volume") if name in values]
    good = (low > 0.0) & (low <= opened) & (opened <= high) & (low <= close) & (close <= high) & (high <= MAX_PRICE)
    for amount in amounts:
        good &= (amount >= 0.0) & (amount <= MAX_AMOUNT * minutes)
    if "taker_buy_volume" in values:
        good &= values["taker_buy_volume"] <= volume * TAKER_TOLERANCE
    if counts is not None:
        good &= (counts >= 0) & (counts <= MAX_COUNT * minutes)
    if good.all():
        return {}

    def one(place: int) -> str:
        quote, taker = (
            float(values[name][place]) if name in values else None for name in ("quote_volume", "taker_buy_volume")
        )
        o, h, l, c, v = (float(each[place]) for each in (opened, high, low, close, volume))  # noqa: E741
        return bar_fault(o, h, l, c, v, quote, taker, None if counts is None else int(counts[place]), minutes) or _TAKER

    return {int(place): one(int(place)) for place in np.flatnonzero(~good)}


def trade_fault(first_id: int, last_id: int, trade_id: int, ms: int, price: float, quantity: float) -> str | None:
    """Why a trade is impossible, or None. A single trade has the same first and last id; time in Unix milliseconds."""
    if not (0.0 < price <= MAX_PRICE and 0.0 < quantity <= MAX_AMOUNT):
        return "its price or quantity is not a positive number, or too large"
    if not 0 <= first_id <= last_id <= MAX_ID or not 0 <= trade_id <= MAX_ID:
        return "an id is negative, too large, or the last of a trade's ids is below its first"
    if not 0 < ms <= MAX_MS:
        return "its time is in another unit"
    return None
