"""The rules that a bar must satisfy to be stored. Other bars are refused and counted.

The rules are those of ``market.sanity``, which venues' answers must satisfy as well (a test compares all forms), and
those of the table. All of them are checked in one fast pass for every write.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, OPTIONAL_COLUMNS, VALUE_COLUMNS
from crypto_pipeline.market.sanity import MAX_MS, bar_fault_exprs
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns.bars import RANKS
from crypto_pipeline.store.database.errors import StoreError

_REQUIRED = [name for name in BAR_SCHEMA if name not in OPTIONAL_COLUMNS]
_SHOWN = (*VALUE_COLUMNS, "source")
_MONDAY_MS = 4 * 86_400_000


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


def split_bad(
    frame: pl.DataFrame, timeframe: Timeframe
) -> tuple[pl.DataFrame, dict[str, int], list[tuple[str, datetime, str, str]]]:
    """The valid rows, the number of refused rows by reason (a row counts for its first reason), and the refused bars.

    Refused bars are (instrument, open time, reason, values), for rows with a valid instrument and time.
    """
    faults = _faults(timeframe)
    fault = pl.coalesce(*(pl.when(wrong).then(pl.lit(reason)) for reason, wrong in faults.items()))
    # one fast pass suffices in the usual case that all rows are valid
    if not frame.select(pl.any_horizontal(*(wrong.any() for wrong in faults.values()))).item():
        return frame, {}, []
    judged = frame.with_columns(fault.alias("fault"))
    bad = judged.drop_nulls("fault")
    counts = bad.group_by("fault").len().sort("fault")
    millis = pl.col("open_time").to_physical()
    known = bad.filter(
        pl.col("instrument").is_not_null(),
        millis.is_between(0, MAX_MS),
        (millis - _anchor(timeframe)) % timeframe.milliseconds == 0,
    )
    refused = [
        (name, at, why, ", ".join(f"{column} {_text(value)}" for column, value in zip(_SHOWN, values, strict=True)))
        for name, at, why, *values in known.select("instrument", "open_time", "fault", *_SHOWN).iter_rows()
    ]
    return judged.filter(pl.col("fault").is_null()).drop("fault"), dict(counts.iter_rows()), refused


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _anchor(timeframe: Timeframe) -> int:
    return _MONDAY_MS if timeframe is Timeframe.W1 else 0


def _faults(timeframe: Timeframe) -> Mapping[str, pl.Expr]:
    """Reason → expression that is true for an invalid row and never null."""
    col = pl.col
    millis = col("open_time").to_physical()
    faults = {
        "a required value is null": pl.any_horizontal(col(name).is_null() for name in _REQUIRED),
        **bar_fault_exprs(timeframe.minutes),
        f"open time is not on the {timeframe} grid": (millis - _anchor(timeframe)) % timeframe.milliseconds != 0,
        "open time is out of range": ~millis.is_between(0, MAX_MS),
        "unknown source": ~col("source").is_in(list(RANKS)),
    }
    return {reason: wrong.fill_null(False) for reason, wrong in faults.items()}
