"""Events: the rows that a model learns from and is judged on, one per setup whose label has ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.market.timeframes import Timeframe

#: What every event has beside its inputs. ``available_at``: when signal and features were known; ``label_end_ts``: when
#: the label was; ``y``: 1 where the net return is above 0; ``weight``: market uniqueness; ``is_default``: also an event
#: of the parameter set that is traded.
EVENT_COLUMNS = (
    "instrument",
    "signal_ts",
    "available_at",
    "entry_ts",
    "label_end_ts",
    "y",
    "weight",
    "net_return",
    "tier",
    "is_default",
)
KEY = ("instrument", "signal_ts")


class EventError(ValueError):
    """The events cannot be learned from; the message names the columns or rows at fault."""


def prepared(events: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """``events`` with EVENT_COLUMNS and the inputs ``names`` only, sorted by time.

    Raises EventError where columns are absent, an event stands twice, a label ends before its signal was known, an
    outcome is neither 0 nor 1, or a weight is not above 0.
    """
    wanted = list(dict.fromkeys([*EVENT_COLUMNS, *names]))
    if absent := [name for name in wanted if name not in events.columns]:
        raise EventError(f"events lack the columns {', '.join(absent)}")
    faults = {
        "null": pl.any_horizontal(pl.col(EVENT_COLUMNS).is_null()),
        "a label that ended before its signal was known": pl.col("label_end_ts") < pl.col("available_at"),
        "an outcome that is neither 0 nor 1": ~pl.col("y").is_in([0, 1]),
        "a weight that is not above 0": ~(pl.col("weight") > 0) | ~pl.col("weight").is_finite(),
        "a net return that is no number": ~pl.col("net_return").is_finite(),
        "the same event twice": pl.struct(KEY).is_duplicated(),
    }
    for fault, wrong in faults.items():
        found = events.filter(wrong)
        if found.height:
            raise EventError(f"{found.height} events have {fault}, the first: {found.row(0, named=True)}"[:500])
    return events.select(wanted).sort("available_at", "signal_ts", "instrument")


def end_of(events: pl.DataFrame) -> datetime:
    """The end (exclusive) of the signals of ``events``: the close of the bar after the last one's."""
    last = events["available_at"].max()
    if not isinstance(last, datetime):
        raise EventError("there are no events")
    return last + Timeframe.M15.delta


def milliseconds(events: pl.DataFrame, column: str) -> Ints:
    """A column of times as unix milliseconds (int64)."""
    return events[column].dt.epoch("ms").to_numpy().astype("int64", copy=False)


def days_covered(events: pl.DataFrame) -> float:
    """Days from the first to the last signal of ``events``; 0 without any."""
    first, last = events["available_at"].min(), events["available_at"].max()
    if isinstance(first, datetime) and isinstance(last, datetime):
        return (last - first) / timedelta(days=1)
    return 0.0
