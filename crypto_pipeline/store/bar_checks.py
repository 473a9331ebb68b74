"""What a bar must be to be stored. Anything else is turned away and counted: a wrong row is worse than none.

The rules of ``market.bar_sanity`` (a test holds the two together), in the one cheap pass that every write can afford,
and those of the table itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.bar_columns import NULLABLE, PRICES, RANKS
from crypto_pipeline.store.errors import StoreError

_REQUIRED = [name for name in BAR_SCHEMA if name not in NULLABLE]
_MONDAY_MS = 4 * 86_400_000
#: Both ends of what PostgreSQL, Polars and datetime can all hold; a time outside is surely a unit mistaken for another.
_FIRST_MS, _LAST_MS = 0, 4_102_444_800_000


def require_schema(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with exactly the columns of BAR_SCHEMA. Raises StoreError that names the column at fault."""
    for name, dtype in BAR_SCHEMA.items():
        if name not in frame.columns:
            raise StoreError(f"a frame of bars needs the column {name!r} ({dtype}); it has {', '.join(frame.columns)}")
    try:
        return frame.select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items())
    except pl.exceptions.PolarsError as error:
        wrong = [
            f"{name} is {frame.schema[name]}, not {dtype}"
            for name, dtype in BAR_SCHEMA.items()
            if frame.schema[name] != dtype
        ]
        raise StoreError(
            f"a frame of bars does not fit its schema: {'; '.join(wrong)} ({str(error).splitlines()[0]})"
        ) from None


def split_bad(frame: pl.DataFrame, timeframe: Timeframe) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that may be stored, and how many were refused for which reason (each row counts for its first)."""
    faults = _faults(timeframe)
    fault = pl.coalesce(*(pl.when(wrong).then(pl.lit(reason)) for reason, wrong in faults.items()))
    # one cheap pass decides for the usual case that all is well
    if not frame.select(pl.any_horizontal(*(wrong.any() for wrong in faults.values()))).item():
        return frame, {}
    judged = frame.with_columns(fault.alias("fault"))
    counts = judged.drop_nulls("fault").group_by("fault").len().sort("fault")
    return judged.filter(pl.col("fault").is_null()).drop("fault"), dict(counts.iter_rows())


def _faults(timeframe: Timeframe) -> Mapping[str, pl.Expr]:
    """Reason → expression that is true for a faulty row and never null."""
    col = pl.col
    anchor = _MONDAY_MS if timeframe is Timeframe.W1 else 0
    millis = col("open_time").to_physical()
    highest = pl.max_horizontal("open", "close", "low")
    lowest = pl.min_horizontal("open", "close", "high")
    floats = [*PRICES, "volume", "quote_volume", "taker_buy_volume"]
    faults = {
        "a required value is null": pl.any_horizontal(col(name).is_null() for name in _REQUIRED),
        "a value is not finite": pl.any_horizontal(col(name).is_finite().not_() for name in floats),
        "a price is not above zero": pl.any_horizontal(col(name) <= 0 for name in PRICES),
        "a volume or count is negative": pl.any_horizontal(col(name) < 0 for name in ("volume", *NULLABLE)),
        "high or low does not enclose open and close": (col("high") < highest) | (col("low") > lowest),
        f"open time is not on the {timeframe} grid": (millis - anchor) % timeframe.milliseconds != 0,
        "open time is out of range": ~millis.is_between(_FIRST_MS, _LAST_MS),
        "unknown source": ~col("source").is_in(list(RANKS)),
    }
    return {reason: wrong.fill_null(False) for reason, wrong in faults.items()}
